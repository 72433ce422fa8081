"""Values that nobody means well with."""

from __future__ import annotations

from typing import Any

HUGE = 10**5000
"""An integer that Python refuses to print."""


def nested(depth: int) -> list[Any]:
    """Return a list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def doubled(times: int) -> list[Any]:
    """Return a list that holds one list twice, which holds one list twice: ``2 ** times`` values in little memory."""
    value: list[Any] = []
    for _ in range(times):
        value = [value, value]
    return value
