"""What all flags of a container share: how a bad value is refused, sizes, and the places in a spec that they change."""

from __future__ import annotations

import re
from typing import Any

from pluginexec.errors import InvalidArgument, shown

_SIZE = re.compile(r"([0-9]{1,19})(\.[0-9]{1,9})? ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE | re.ASCII)
_UNITS = ("", "k", "m", "g", "t", "p")
_LARGEST = (1 << 63) - 1
"""What the kernel counts bytes in."""


def refused(flag: str, value: str, allowed: str) -> InvalidArgument:
    """Return the error for a flag with a bad value; ``allowed`` says what to give."""
    return InvalidArgument(f"{flag} {shown(value)}: {allowed}")


def parse_size(flag: str, value: str) -> int:
    """Return the bytes that a size such as ``64m`` or ``1.5GiB`` stands for; each unit is 1,024 of the one before."""
    found = _SIZE.fullmatch(value)
    if found:
        unit: int = 1024 ** _UNITS.index((found[3] or "").lower())
        size = int(found[1]) * unit + int(float(found[2] or 0) * unit)
        if size <= _LARGEST:
            return size
    raise refused(flag, value, "give a number of bytes, or one with k, m, g, t or p, such as 64m")


def section(spec: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the object at ``path`` (keys joined by dots) in a spec; it is made where there is none."""
    for key in path.split("."):
        if spec.get(key) is None:
            spec[key] = {}
        spec = spec[key]
        if not isinstance(spec, dict):
            raise InvalidArgument(f"the spec's {path} must be an object")
    return spec
