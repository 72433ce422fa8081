"""How much is done: all of it, or a little of each row, which shows that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Rounds of the short rows and of the long ones, and sizes."""

    rounds: int
    long_rounds: int
    size: int
    """Bytes through one relay."""
    sizes: tuple[int, ...]
    plugins: int
    """How many of them at once, where that is not what a row is about."""
    crowd: int
    crowds: tuple[int, ...]
    lines: int
    """Lines of each plugin."""
    storm: int
    """How many plugins end while others' events come."""
    asks: int
    """How often gRPC is asked in one turn; we are asked ten times as often."""


FULL = Effort(
    rounds=25,
    long_rounds=5,
    size=1 << 30,
    sizes=(4 << 20, 16 << 20, 256 << 20, 1 << 30),
    plugins=50,
    crowd=100,
    crowds=(1, 10, 50, 200),
    lines=200,
    storm=8,
    asks=500,
)
QUICK = Effort(
    rounds=2,
    long_rounds=1,
    size=16 << 20,
    sizes=(4 << 20, 16 << 20),
    plugins=4,
    crowd=6,
    crowds=(1, 4),
    lines=50,
    storm=2,
    asks=100,
)
