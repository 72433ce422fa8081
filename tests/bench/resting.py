"""Row: what plugins that do nothing cost in memory, beyond their shims; and how that grows with their number."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tests.bench.arena import FOREVER, Arena, kill
from tests.bench.crowds import create_all
from tests.bench.effort import Effort
from tests.bench.memory import PSS, held
from tests.bench.plot import Panel, Series
from tests.bench.rows import Measured, Row, at_most
from tests.bench.sides import Counter, Ours
from tests.bench.spread import alternate, ratios, spread
from tests.bench.talking import many_in_front

_SHIM = "containerd-shim"


def memory(arena: Arena, effort: Effort) -> Measured:
    """PSS of what we need for a plugin whose streams are both relayed: logger, threads, tables."""
    rows, ours, theirs = [], [], []
    for count in effort.crowds:
        own, other = alternate(1, partial(_ours, arena, count), partial(_theirs, arena, count), warm_up=False)
        ratio = spread(ratios(own, other))
        goals = (at_most("ours", own[0], 0.6, "MiB"),) if count == 50 else ()
        what = f"PSS for each of {count} idle plugins, beyond the shim"
        rows.append(Row(what, "foreground ctr run", "MiB", spread(own), spread(other), ratio, goals))
        ours.append((float(count), own[0]))
        theirs.append((float(count), other[0]))
    series = (Series("pluginexec", tuple(ours)), Series("foreground ctr run", tuple(theirs)))
    return Measured(tuple(rows), (Panel("Memory of an idle plugin, beyond the shim", "plugins", "MiB", series),))


def _ours(arena: Arena, count: int) -> float:
    before, own = arena.meter.pids(), held(PSS, os.getpid())
    side = Ours(arena)
    pids = create_all(arena, side, count, lambda at: (Counter(), Counter()), FOREVER)
    used = _grown(arena, before) + held(PSS, os.getpid()) - own
    for pid in pids.values():
        kill(pid)
    side.ends.wait(*pids)
    return used / count


def _theirs(arena: Arena, count: int) -> float:
    before, own = arena.meter.pids(), held(PSS, os.getpid())
    with many_in_front(arena, FOREVER, [Counter() for _ in range(count)]):
        used = _grown(arena, before) + held(PSS, os.getpid()) - own
    return used / count


def _grown(arena: Arena, before: set[int]) -> float:
    new = arena.meter.pids() - before
    return sum(held(PSS, pid) for pid in new if not Path(f"/proc/{pid}/comm").read_text().startswith(_SHIM))
