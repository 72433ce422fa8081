"""The table of all rows, as text that is a table in reStructuredText too."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tests.bench.rows import Goal, Row
from tests.bench.spread import Spread

_HEAD = ("what", "pluginexec", "against", "ratio", "to reach", "reached")
_WIDTHS = (27, 21, 34, 21, 21, 18)


def table(rows: Sequence[Row]) -> str:
    """Return all rows, under each other; what is too long for its column goes on in the next line."""
    border = "  ".join("=" * width for width in _WIDTHS)
    lines = [border, _line(_HEAD), border]
    for row in rows:
        lines += _lines(row)
    return "\n".join([*lines, border])


def _lines(row: Row) -> list[str]:
    cells = (
        [row.what],
        [shown(row.ours, row.unit)],
        [
            f"{row.against} {shown(row.theirs, row.unit)}" if row.theirs else row.against,
            *(f"{what}: {shown(value, unit)}" for what, (value, unit) in row.others.items()),
        ],
        [shown(row.ratio, "x")] if row.ratio else ["-"],
        [_bound(goal) for goal in row.goals] or ["-"],
        [_outcome(goal) for goal in row.goals] or ["-"],
    )
    columns = [
        [line for text in cell for line in textwrap.wrap(text, width)]
        for cell, width in zip(cells, _WIDTHS, strict=True)
    ]
    height = max(map(len, columns))
    return [_line([column[at] if at < len(column) else "" for column in columns]) for at in range(height)]


def _line(cells: Sequence[str]) -> str:
    # An empty first cell makes a line a part of the row above it, also for docutils.
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _bound(goal: Goal) -> str:
    what = "" if goal.what == "ratio" else f"{goal.what} "
    return f"{what}{'>=' if goal.at_least else '<='} {number(goal.bound)} {goal.unit}"


def _outcome(goal: Goal) -> str:
    return f"{'yes' if goal.reached else 'NO'}: {number(goal.value)} {goal.unit}"


def shown(value: Spread, unit: str) -> str:
    """Return a median with its unit and, if there were several values, its quartiles."""
    quartiles = f" ({number(value.low)} to {number(value.high)})" if value.count > 1 else ""
    return f"{number(value.median)} {unit}{quartiles}"


def number(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
