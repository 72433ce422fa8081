"""What must have come out of a plugin that prints numbered lines."""

from __future__ import annotations

_PROBE = 64
"""Bytes that say where in numbered lines they are from."""


def numbered(count: int) -> bytes:
    """Return what ``seq -w 1 COUNT`` prints: no two places in it look the same."""
    width = len(str(count))
    return b"".join(b"%0*d\n" % (width, number) for number in range(1, count + 1))


def gaps(expected: bytes, data: bytes) -> list[int]:
    """Return the lengths of what is missing in ``data``, in order; ``ValueError`` if it is anything but that."""
    found: list[int] = []
    at = 0
    while data or at < len(expected):
        same = _common_prefix(expected[at:], data)
        at, data = at + same, data[same:]
        if not data:
            if at < len(expected):
                found.append(len(expected) - at)
            return found
        next_at = expected.find(data[:_PROBE], at) if len(data) > _PROBE else len(expected) - len(data)
        if next_at < at or not expected.startswith(data[:_PROBE], next_at):
            raise ValueError(f"{data[:_PROBE]!r} comes after {expected[max(0, at - _PROBE) : at]!r}")
        found.append(next_at - at)
        at = next_at
    return found


def _common_prefix(left: bytes, right: bytes) -> int:
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
