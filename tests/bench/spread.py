"""Medians with their spread, and sides that take turns.

The spread is the interquartile range: half of all values lie in it, and one value that another process on the machine
has spoilt does not move it. A ratio is taken of each pair of neighbours in time, so that what slows the machine for a
while slows both; the median of these ratios, with their quartiles, is what counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """The median of some values, their quartiles, and how many there were."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of values, of which there must be one at least."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each pair of neighbours."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def alternate(rounds: int, *sides: Callable[[], T], warm_up: bool = True) -> list[list[T]]:
    """Let the sides take turns, A B A B, and return what each has measured; the first turn of each does not count."""
    if warm_up:
        for side in sides:
            side()
    taken: list[list[T]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, values in zip(sides, taken, strict=True):
            values.append(side())
    return taken
