"""A row of the table: what was measured, against what, and what was to be reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.plot import Panel
from tests.bench.spread import Spread, ratios, spread


@dataclass(frozen=True)
class Goal:
    """A bound for one number, which is to be at most that, or at least."""

    what: str
    value: float
    bound: float
    unit: str = "x"
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the number keeps to the bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True)
class Row:
    """One measurement of ours, and mostly one of a peer."""

    what: str
    against: str
    unit: str
    ours: Spread
    theirs: Spread | None = None
    ratio: Spread | None = None
    goals: tuple[Goal, ...] = ()
    others: dict[str, tuple[Spread, str]] = field(default_factory=dict)
    """What parts of the work cost alone, or what else is worth to know, each with its unit."""

    def as_json(self) -> dict[str, Any]:
        """Return all that is known of it."""
        return dataclasses.asdict(self) | {
            "goals": [dataclasses.asdict(goal) | {"reached": goal.reached} for goal in self.goals]
        }


@dataclass(frozen=True)
class Measured:
    """What one benchmark brings home."""

    rows: tuple[Row, ...]
    panels: tuple[Panel, ...] = ()


def against_peer(
    what: str,
    against: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    most: float | None = None,
    least: float | None = None,
) -> Row:
    """Return the row of values that were taken in turns; the goal, if there is one, is for the ratio."""
    ratio = spread(ratios(ours, theirs))
    goals: tuple[Goal, ...] = ()
    if most is not None:
        goals = (at_most("ratio", ratio.median, most),)
    if least is not None:
        goals = (at_least("ratio", ratio.median, least),)
    return Row(what, against, unit, spread(ours), spread(theirs), ratio, goals)


def at_most(what: str, value: float, bound: float, unit: str = "x") -> Goal:
    """Return the goal that ``value`` is no more than ``bound``."""
    return Goal(what, value, bound, unit)


def at_least(what: str, value: float, bound: float, unit: str = "x") -> Goal:
    """Return the goal that ``value`` is no less than ``bound``."""
    return Goal(what, value, bound, unit, at_least=True)
