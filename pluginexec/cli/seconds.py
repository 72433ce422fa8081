"""The type of the options that take seconds."""

from __future__ import annotations

import math
from typing import Any

import click

LONGEST = 1_000_000
"""That of ``Remote``, which takes long to import."""


class Seconds(click.FloatRange):
    """A number of seconds, fractions too; with ``zero`` also 0."""

    def __init__(self, *, zero: bool = False) -> None:
        super().__init__(min=0, max=LONGEST, min_open=not zero)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; ``nan`` is none, though it is not out of the range."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds
