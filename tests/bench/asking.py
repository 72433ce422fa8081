"""Row: is it running?"""

from __future__ import annotations

import time

from tests.bench.arena import Arena, kill
from tests.bench.effort import Effort
from tests.bench.rows import Measured, Row, at_least, at_most
from tests.bench.sides import Side, both
from tests.bench.spread import alternate, ratios, spread


def is_running(arena: Arena, effort: Effort) -> Measured:
    """Ask the executor, which asks the kernel, and gRPC's ``Get``, which asks the shim; often, one after another."""
    with both(arena) as sides:
        ids = [arena.new_id() for _ in sides]
        pids = [side.create(id, arena.spec(id), None, None) for side, id in zip(sides, ids, strict=True)]
        own, other = alternate(
            effort.rounds,
            lambda: _ask(sides[0], ids[0], effort.asks * 10),
            lambda: _ask(sides[1], ids[1], effort.asks),
        )
        for side, id, pid in zip(sides, ids, pids, strict=True):
            kill(pid)
            side.ends.wait(id)
    faster = spread(ratios(other, own))
    goals = (at_least("ratio", faster.median, 25), at_most("ours", spread(own).median, 20, "us"))
    return Measured(
        (Row("is_running (ratio: times faster)", "gRPC Get", "us", spread(own), spread(other), faster, goals),)
    )


def _ask(side: Side, id: str, times: int) -> float:
    begun = time.perf_counter()
    assert all(side.is_running(id) for _ in range(times))
    return (time.perf_counter() - begun) / times * 1e6
