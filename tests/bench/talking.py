"""Row: many plugins at once that print small lines."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.arena import Arena, kill
from tests.bench.crowds import create_all
from tests.bench.effort import Effort
from tests.bench.foreground import Foreground
from tests.bench.rows import Measured, against_peer
from tests.bench.sides import Counter, Ours
from tests.bench.spread import alternate
from tests.support.harness import wait_until

_LINE = "a small line of a plugin"
# A line every 50 ms, each of which wakes whoever relays it; "read -t" waits without another process.
_SCRIPT = (
    "mkfifo /run/never; exec 3<>/run/never; until [ -e /go ]; do read -t 0.05 x <&3; done; "
    'i=0; while [ $i -lt {lines} ]; do echo "{line}"; i=$((i + 1)); read -t 0.05 x <&3; done; exec sleep 1000000'
)
_CHUNK = 1 << 17


def small_lines(arena: Arena, effort: Effort) -> Measured:
    """The CPU time of all but the plugins themselves, while the lines come."""
    script = ("sh", "-c", _SCRIPT.format(lines=effort.lines, line=_LINE))
    size = effort.lines * (len(_LINE) + 1)

    def ours() -> float:
        counters = [Counter() for _ in range(effort.plugins)]
        side = Ours(arena)
        pids = create_all(arena, side, len(counters), lambda at: (counters[at], None), script)
        used = _used(arena, counters, size)
        for pid in pids.values():
            kill(pid)
        side.ends.wait(*pids)
        return used

    def theirs() -> float:
        counters = [Counter() for _ in range(effort.plugins)]
        with many_in_front(arena, script, counters):
            return _used(arena, counters, size)

    own, other = alternate(max(1, effort.long_rounds // 2), ours, theirs, warm_up=False)
    what = f"{effort.plugins} plugins, {effort.lines} small lines each, CPU"
    return Measured((against_peer(what, "foreground ctr run", "s", own, other, most=0.5),))


def _used(arena: Arena, counters: list[Counter], size: int) -> float:
    begun = arena.meter.read()
    with arena.go():
        for counter in counters:
            counter.wait(size)
    return arena.meter.read() - begun


@contextmanager
def many_in_front(arena: Arena, script: tuple[str, ...], counters: list[Counter]) -> Iterator[None]:
    """Run plugins by foreground ``ctr run``, each with a thread that reads its pipe; then end them."""
    foreground = Foreground(arena)
    ids = [arena.new_id() for _ in counters]
    processes = [foreground.start(id, arena.spec(id, *script)) for id in ids]
    readers = [
        threading.Thread(target=_read, args=(process, counter))
        for process, counter in zip(processes, counters, strict=True)
    ]
    for reader in readers:
        reader.start()
    wait_until(lambda: foreground.running() >= set(ids), "the start of all", timeout=120)
    yield
    for id, task in foreground.client.tasks().items():
        assert id in ids
        kill(task.pid)
    for process, reader in zip(processes, readers, strict=True):
        reader.join()
        process.communicate()
        assert process.returncode == 137
    for id in ids:
        foreground.client.delete_container(id)


def _read(process: subprocess.Popen[bytes], counter: Counter) -> None:
    assert process.stdout
    while data := os.read(process.stdout.fileno(), _CHUNK):
        counter.write(data)
