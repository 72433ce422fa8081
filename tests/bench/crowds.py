"""Rows: many plugins at once, as fast as it goes; and how the cost of a life grows with their number."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pluginexec import Writer
from tests.bench.arena import FOREVER, Arena, kill
from tests.bench.effort import Effort
from tests.bench.plot import Panel, Series
from tests.bench.rows import Measured, Row, against_peer, at_least, at_most
from tests.bench.sides import Ours, Side, both
from tests.bench.spread import alternate, ratios, spread

_CALLERS = 8
"""Threads that create at the same time."""
Writers = Callable[[int], "tuple[Writer | None, Writer | None]"]


@dataclass(frozen=True)
class Used:
    """Seconds: of CPU time, and by the clock."""

    cpu: float
    wall: float


def crowd(arena: Arena, effort: Effort) -> Measured:
    """100 created, then ended, at once; against 100 that live one after another."""
    side = Ours(arena)
    together, alone = alternate(
        max(1, effort.long_rounds // 2),
        lambda: _together(arena, side, effort.crowd),
        lambda: _one_by_one(arena, side, effort.crowd),
        warm_up=False,
    )
    own, other = [used.cpu for used in together], [used.cpu for used in alone]
    ratio = spread(ratios(own, other))
    cores = spread([used.cpu / used.wall for used in together])
    busy = at_least("cores in use", cores.median, 0.75 * (os.cpu_count() or 1), "")
    what = f"{effort.crowd} plugins created, then ended, as fast as it goes, CPU"
    row = Row(
        what,
        f"{effort.crowd} times one",
        "s",
        spread(own),
        spread(other),
        ratio,
        (at_most("ratio", ratio.median, 1.15), busy),
        {
            "by the clock, at once": (spread([used.wall for used in together]), "s"),
            "by the clock, one by one": (spread([used.wall for used in alone]), "s"),
        },
    )
    return Measured((row,))


def growing(arena: Arena, effort: Effort) -> Measured:
    """The CPU time of a whole life, by the number of plugins that live at once."""
    rows, ours, theirs = [], [], []
    with both(arena) as sides:
        for count in effort.crowds:
            rounds = max(1, min(effort.rounds, effort.plugins // 2 // count))
            own, other = alternate(
                rounds, *(partial(_cpu_of_each, arena, side, count) for side in sides), warm_up=False
            )
            rows.append(against_peer(f"a life, {count} at once, CPU for each", "gRPC", "ms", own, other))
            ours.append((float(count), spread(own).median))
            theirs.append((float(count), spread(other).median))
    series = (Series("pluginexec", tuple(ours)), Series("gRPC", tuple(theirs)))
    return Measured(
        tuple(rows), (Panel("CPU time of a life, from create to handler", "plugins at once", "ms", series),)
    )


def create_all(arena: Arena, side: Side, count: int, writers: Writers, args: tuple[str, ...]) -> dict[str, int]:
    """Create plugins, several at a time; return their pids by their ids."""

    def create(at: int) -> tuple[str, int]:
        id = arena.new_id()
        return id, side.create(id, arena.spec(id, *args), *writers(at))

    with ThreadPoolExecutor(_CALLERS) as callers:
        return dict(callers.map(create, range(count)))


def _together(arena: Arena, side: Side, count: int) -> Used:
    return _measure(arena, lambda: _live(arena, side, count))


def _cpu_of_each(arena: Arena, side: Side, count: int) -> float:
    """Return the milliseconds of CPU time of one life among many."""
    return 1e3 * _together(arena, side, count).cpu / count


def _one_by_one(arena: Arena, side: Side, count: int) -> Used:
    def work() -> None:
        for _ in range(count):
            _live(arena, side, 1)

    return _measure(arena, work)


def _live(arena: Arena, side: Side, count: int) -> None:
    pids = create_all(arena, side, count, lambda at: (None, None), FOREVER)
    for pid in pids.values():
        kill(pid)
    side.ends.wait(*pids)


def _measure(arena: Arena, work: Callable[[], object]) -> Used:
    cpu, wall = arena.meter.read(), time.perf_counter()
    work()
    return Used(arena.meter.read() - cpu, time.perf_counter() - wall)
