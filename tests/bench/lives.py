"""Rows: create until a plugin runs, and from the death of its process until the handler is told, cleaned up."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pluginexec.streams.shell_logger import NO_LOGGER, logger_arguments, redirect_to_file
from tests.bench.arena import Arena, kill
from tests.bench.effort import Effort
from tests.bench.foreground import Foreground
from tests.bench.rows import Measured, Row, against_peer
from tests.bench.sides import Counter, Side, both
from tests.bench.spread import alternate, ratios, spread

_SAY = ("sh", "-c", "echo out; echo err >&2; exec sleep 1000000")
_SAID = 4


@dataclass(frozen=True)
class Life:
    """Milliseconds: until it ran, from its death to its event, and from its death to the handler."""

    create: float
    event: float
    handler: float


def quiet(arena: Arena, effort: Effort) -> Measured:
    """Without output; beside it the two commands that we need at the very least, by hand."""
    foreground = Foreground(arena)
    with both(arena) as sides:
        own, other, hand = alternate(
            effort.rounds,
            lambda: _live(arena, sides[0]),
            lambda: _live(arena, sides[1]),
            lambda: _live_by_hand(arena, foreground),
        )
    create = _row("create until it runs, no output", "gRPC", "create", own, other, 1.2)
    event = _row("exit: from death to its event", "gRPC Subscribe", "event", own, other, 1.0)
    exit = _row(
        "exit: from death to the handler, all cleaned up", "gRPC Subscribe, Delete, Delete", "handler", own, other, 1.4
    )
    return Measured(
        (
            _beside(create, "ctr run --detach by hand", hand, other, "create"),
            event,
            _beside(exit, "ctr containers rm by hand", hand, other, "handler"),
        )
    )


def relayed(arena: Arena, effort: Effort) -> Measured:
    """With both streams relayed to writers, on both sides; beside it the commands by hand, with the same logger."""
    foreground = Foreground(arena)
    logger = logger_arguments(redirect_to_file(None), redirect_to_file(None), None)
    with both(arena) as sides:
        own, other, hand = alternate(
            effort.rounds,
            lambda: _live(arena, sides[0], relayed=True),
            lambda: _live(arena, sides[1], relayed=True),
            lambda: _live_by_hand(arena, foreground, logger),
        )
    peer = "gRPC, FIFOs read in threads"
    create = _row("create until it runs, both streams relayed", peer, "create", own, other, 1.25)
    exit = _row("exit, both streams relayed to their end", peer, "handler", own, other, None)
    return Measured(
        (
            _beside(create, "ctr run --detach by hand, logger to /dev/null", hand, other, "create"),
            _beside(exit, "ctr containers rm by hand", hand, other, "handler"),
        )
    )


def _live(arena: Arena, side: Side, *, relayed: bool = False) -> Life:
    id = arena.new_id()
    spec = arena.spec(id, *_SAY) if relayed else arena.spec(id)
    counters = [Counter(), Counter()] if relayed else []
    begun = time.perf_counter()
    pid = side.create(id, spec, *counters) if relayed else side.create(id, spec, None, None)
    ran = time.perf_counter()
    assert side.is_running(id)
    for counter in counters:
        counter.wait(_SAID)
    died = kill(pid)
    side.ends.wait(id)
    assert all(counter.closed.is_set() for counter in counters)
    return Life(1e3 * (ran - begun), 1e3 * (side.ends.told_at(id) - died), 1e3 * (side.ends.handled[id] - died))


def _live_by_hand(arena: Arena, foreground: Foreground, io: Sequence[str] = NO_LOGGER) -> Life:
    id = arena.new_id()
    spec = arena.spec(id)
    begun = time.perf_counter()
    pid = foreground.run_detached(id, spec, io)
    ran = time.perf_counter()
    kill(pid)
    return Life(1e3 * (ran - begun), 0.0, 1e3 * foreground.remove_ended(id))


def _row(what: str, against: str, part: str, own: list[Life], other: list[Life], most: float | None) -> Row:
    return against_peer(what, against, "ms", _parts(own, part), _parts(other, part), most=most)


def _beside(row: Row, what: str, hand: list[Life], other: list[Life], part: str) -> Row:
    """Add what the one command that we need costs alone, and that in terms of the peer: our limit."""
    alone = _parts(hand, part)
    limit = spread(ratios(alone, _parts(other, part)))
    return dataclasses.replace(row, others={what: (spread(alone), "ms"), "that / peer, our limit": (limit, "x")})


def _parts(lives: list[Life], part: str) -> list[float]:
    return [float(getattr(life, part)) for life in lives]
