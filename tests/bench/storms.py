"""Row: the exec events of others on the stream."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

from pluginexec import PLUGIN_NAMESPACE
from tests.bench.arena import Arena, kill
from tests.bench.effort import Effort
from tests.bench.publisher import STRANGER
from tests.bench.rows import Measured, Row, at_most
from tests.bench.spread import spread

_RATE = 1000
_WATCHED = 2.0
"""Seconds for which nothing happens but the events of others, and the CPU time is taken."""


def exec_events(arena: Arena, effort: Effort) -> Measured:
    """1,000 a second, of the three kinds that an exec makes, in turns: what they cost us, and what they delay."""
    shares: list[float] = []
    delays: list[float] = []
    rates: list[float] = []
    children: list[float] = []
    for _ in range(effort.long_rounds):
        quiet = [_lateness(arena) for _ in range(effort.storm)]
        with _storm(arena, rates):
            own, child = _shares()
            shares.append(100 * (own + child))
            children.append(100 * child)
            noisy = [_lateness(arena) for _ in range(effort.storm)]
        delays.append(max(noisy) - spread(quiet).median)
    goals = (
        at_most("CPU", spread(shares).median, 3, "% of a core"),
        at_most("latest exit", spread(delays).median, 10, "ms"),
    )
    others = {
        "ctr events alone, our limit": (spread(children), "% of a core"),
        "events a second": (spread(rates), ""),
        "latest exit, beyond the median without them": (spread(delays), "ms"),
    }
    what = "1,000 exec events of others a second: CPU of ours and ctr events"
    return Measured((Row(what, "-", "% of a core", spread(shares), goals=goals, others=others),))


def _lateness(arena: Arena) -> float:
    """Return the milliseconds from the death of a plugin to its event."""
    id = arena.new_id()
    arena.executor.create(id, arena.spec(id))
    died = kill(arena.executor.pid(id))
    arena.ends.wait(id)
    return 1e3 * (arena.ends.told_at(id) - died)


def _shares() -> tuple[float, float]:
    """Return which part of a core we use, and our ``ctr events``."""
    while True:
        # There may be none at this moment, or another in the next: one that is late on a busy machine is replaced.
        with contextlib.suppress(OSError, psutil.NoSuchProcess, StopIteration):
            events = next(child for child in psutil.Process().children() if "events" in child.cmdline())
            begun, own, child = time.monotonic(), time.process_time(), _cpu(events.pid)
            time.sleep(_WATCHED)
            seconds = time.monotonic() - begun
            return (time.process_time() - own) / seconds, (_cpu(events.pid) - child) / seconds


def _cpu(pid: int) -> float:
    # A process's own CPU clock; its number is made of the pid, see clock_getcpuclockid(3).
    return time.clock_gettime((~pid << 3) | 2)


@contextlib.contextmanager
def _storm(arena: Arena, rates: list[float]) -> Iterator[None]:
    """Have events published meanwhile; see that the exits among them come to us, and note how fast it was."""
    seen = arena.ends.seen[STRANGER]
    argv = [sys.executable, "-m", "tests.bench.publisher", arena.containerd.address, PLUGIN_NAMESPACE, str(_RATE)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as publisher:
        assert publisher.stdin
        assert publisher.stdout
        assert publisher.stdout.readline() == "ready\n"
        yield
        publisher.stdin.close()
        count, rate = map(int, publisher.stdout.read().split())
    assert publisher.returncode == 0
    # Not all of them, perhaps: where the machine is so busy that an exit of ours is late, another stream is begun.
    assert count // 3 >= arena.ends.seen[STRANGER] - seen > 0, "no exits of others came to us"
    rates.append(float(rate))
