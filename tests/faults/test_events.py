"""Exits while ``ctr events`` is killed, stopped, or talks nonsense.

Real: containerd, ``ctr``, the containers, the signals. What the real ``ctr events`` says is mangled on its way to us.
Each test prints how long the exits took; ``pytest -rP`` shows it.
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor, ExitStatus, Remote
from pluginexec.containerd.ctr import kill_group
from tests.support import mangler
from tests.support.fleet import signal_stream
from tests.support.harness import PATIENCE, Buffer, Exits, wait_until
from tests.support.wrapper import Wrapper

Shell = Callable[..., dict[str, Any]]

PLUGINS = 8
BOUND = 5.0
"""Seconds after the recovery in which every exit is told, where the machine is not busy with something else."""


class Timed(Buffer):
    """A writer that remembers when it was last written to."""

    at = 0.0

    def write(self, data: bytes, /) -> int | None:
        """Keep, and look at the clock."""
        self.at = time.monotonic()
        return super().write(data)


class Clocked(Exits):
    """An exit handler that remembers when it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, float] = {}

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Look at the clock, and remember."""
        self.at[id] = time.monotonic()
        super().handle_exit_event(id, status)


@dataclass
class Life:
    """One life of a plugin: how it is to end, and what it has said."""

    id: str
    code: int
    waits: bool
    pause: float
    stdout: Timed = field(default_factory=Timed)

    @property
    def script(self) -> str:
        """Say hello, wait for SIGTERM or for a moment, say goodbye, end."""
        if self.waits:
            return f"trap 'echo bye; exit {self.code}' TERM; echo hello; sleep 1000 & wait"
        return f"echo hello; sleep {self.pause:.3f}; echo bye; exit {self.code}"


@dataclass
class Herd:
    """Plugins that live at the same time, on an executor whose ``ctr`` can be told to misbehave."""

    executor: Executor
    wrapper: Wrapper
    shell: Shell
    dice: random.Random
    exits: Clocked
    ids: list[str]
    latencies: list[float] = field(default_factory=list)

    def live(self, fault: Callable[[], object]) -> None:
        """Let all ids live once more, with a fault at some point; check the exits."""
        lives = [
            Life(id, self.dice.randrange(256), self.dice.random() < 0.5, self.dice.random() / 4) for id in self.ids
        ]
        waiting = [life for life in lives if life.waits]
        steps = [partial(self._start, life) for life in lives]
        steps += [partial(self._end, life) for life in self.dice.sample(waiting, len(waiting))]
        told_before = len(self.exits.ids)
        trouble = threading.Timer(self.dice.random() / 8, fault)
        place = self.dice.randrange(len(steps))
        for number, step in enumerate(steps):
            if number == place:
                struck = time.monotonic() + trouble.interval
                trouble.start()
            step()
        trouble.join()
        told = self.exits.wait_for(told_before + len(lives), timeout=BOUND + PATIENCE)[told_before:]
        assert {id: status.exit_code for id, status in told} == {life.id: life.code for life in lives}
        for life in lives:
            assert (life.stdout.data, life.stdout.closings) == (b"hello\nbye\n", 1)
            if self.exits.at[life.id] > struck:
                self.latencies.append(self.exits.at[life.id] - max(life.stdout.at, struck))

    def _start(self, life: Life) -> None:
        self._publish(life.id)
        self.executor.create(life.id, self.shell(life.id, life.script), life.stdout)
        self._publish()

    def _publish(self, *starting: str) -> None:
        """Write down who lives or starts, for the mangler's lies."""
        known = {plugin.id: plugin.pid for plugin in list(self.executor._table._plugins.values()) if plugin.pid}
        known |= dict.fromkeys(starting, 1)
        new = self.wrapper.directory / "plugins.new"
        new.write_text("".join(f"{id} {pid}\n" for id, pid in known.items()))
        new.replace(self.wrapper.directory / "plugins")

    def _end(self, life: Life) -> None:
        wait_until(lambda: life.stdout.data, "the trap")
        self.executor.signal(life.id, signal.SIGTERM)

    def settle(self, lives: int) -> None:
        """See that no exit is told twice: none comes before that of one more plugin."""
        last = self.ids[0]
        self.executor.create(last, self.shell(last, "exit 0"))
        told = self.exits.wait_for(lives + 1)
        assert len(told) == lives + 1
        assert told[-1][0] == last

    def report(self, fault: str) -> None:
        """Print how long the exits took."""
        middle, longest = statistics.median(self.latencies), max(self.latencies)
        print(f"{fault}: of {len(self.exits.ids)} exits {len(self.latencies)} were told after the fault")
        print(f"from its last words, or the fault, that took {middle:.3f} s (median), {longest:.3f} s (longest)")


@pytest.fixture
def herd(
    new_executor: Callable[..., Executor],
    remote: Remote,
    shell: Shell,
    dice: random.Random,
    new_id: Callable[[], str],
    tmp_path: Path,
) -> Herd:
    """A herd that has not lived yet."""
    wrapper = Wrapper(tmp_path / "bin")
    (wrapper.directory / "plugins").touch()
    exits = Clocked()
    executor = new_executor(exits, remote=Remote(remote.address, ctr=str(wrapper.path)))
    return Herd(executor, wrapper, shell, dice, exits, [new_id() for _ in range(PLUGINS)])


def test_exits_are_told_once_while_the_stream_is_killed(herd: Herd, rounds: range) -> None:
    for _ in rounds:
        herd.live(lambda: signal_stream(herd.executor, signal.SIGKILL))
    herd.settle(len(rounds) * PLUGINS)
    herd.report("killed")


def test_exits_are_told_once_while_the_stream_is_stopped(herd: Herd, rounds: range) -> None:
    def stop() -> None:
        pid = signal_stream(herd.executor, signal.SIGSTOP)
        time.sleep(pause)
        if pid and goes_on:
            with suppress(ProcessLookupError):  # replaced meanwhile
                os.kill(pid, signal.SIGCONT)

    for _ in rounds:
        pause, goes_on = herd.dice.uniform(0, 2), herd.dice.random() < 0.5
        herd.live(stop)
    herd.settle(len(rounds) * PLUGINS)
    herd.report("stopped")


@pytest.fixture
def mangling(herd: Herd) -> Iterator[Callable[..., Callable[[], None]]]:
    """Make a fault: from then on all that the stream says is mangled, in ways of these kinds."""

    def make(*kinds: str) -> Callable[[], None]:
        words = [sys.executable, "-SE", mangler.__file__, herd.dice.randbytes(4).hex()]
        words += [str(herd.wrapper.directory / "plugins"), *kinds]

        def begin() -> None:
            herd.wrapper.inject("events", f'"$here/real" "$@" | {shlex.join(words)}; exit')
            assert herd.executor._events
            child = herd.executor._events._child
            if child:
                kill_group(child)

        return begin

    yield make
    herd.wrapper.heal()


@pytest.mark.parametrize(
    "kinds",
    [pytest.param(("torn", "cut", "dropped"), id="lines-lost"), pytest.param(mangler.KINDS, id="and-lines-too-many")],
)
def test_exits_are_told_once_while_the_stream_is_mangled(
    herd: Herd, mangling: Callable[..., Callable[[], None]], rounds: range, kinds: tuple[str, ...]
) -> None:
    for _ in rounds:
        herd.live(mangling(*kinds))
    herd.settle(len(rounds) * PLUGINS)
    herd.report(" ".join(kinds))
