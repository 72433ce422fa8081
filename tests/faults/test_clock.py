"""The time of day is set back, by an hour and more, and nothing changes.

Real: containerd, the containers, executors in processes of their own, for which Debian's libfaketime sets the clock
back; the machine's clock stays as it is. For the times in events a ``ctr`` whose events tell odd ones.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Executor, Remote
from pluginexec.containerd.client import Client
from pluginexec.executor.exit_watcher import GRACE
from pluginexec.types import TaskState
from tests.support.agent import Agent, Failed
from tests.support.containers import wait_for_state
from tests.support.debian import unpacked
from tests.support.fakes import fake_command
from tests.support.harness import PATIENCE, Exits, wait_until

Shell = Callable[..., dict[str, Any]]
NewId = Callable[[], str]
NewAgent = Callable[[], Agent]
HOUR = 3600
WAITS = "trap 'echo end; exit 3' TERM; echo up; while :; do sleep 0.02; done"
OUTPUT = [["up\nend\n", 1], ["", 1]]


class Clock:
    """The time of day of the processes that get ``environment``, while they run."""

    def __init__(self, file: Path) -> None:
        library = next(unpacked("libfaketime").glob("usr/lib/*/faketime/libfaketime.so.1"))
        self._file = file
        self._hours = 0
        self._write()
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # nobody can set that one back
        }

    def set_back(self) -> None:
        """Set it back by one hour more."""
        self._hours += 1
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"-{self._hours * HOUR}")
        new.replace(self._file)

    def is_set_back_for(self, agent: Agent) -> bool:
        """Tell whether a process takes the time from here."""
        return is_now(agent.ask("now") + self._hours * HOUR)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock that can be set back."""
    return Clock(tmp_path / "faketime")


@pytest.fixture
def new_agent(clean_namespace: None, root_dir: Path, remote: Remote, clock: Clock) -> Iterator[NewAgent]:
    """Start executors that live by that clock, one after the other."""
    agents: list[Agent] = []

    def start() -> Agent:
        agents.append(Agent(root_dir, remote, environment=clock.environment))
        return agents[-1]

    yield start
    for agent in agents:
        agent.end()


def is_now(told: float) -> bool:
    """Tell whether a time was told by a clock that is right, on a machine that may be slow."""
    return abs(time.time() - told) < HOUR / 2


def test_a_life_is_the_same_wherever_in_it_the_clock_is_set_back(
    new_agent: NewAgent, clock: Clock, new_id: NewId, shell: Shell, client: Client, dice: random.Random, rounds: range
) -> None:
    agent = new_agent()

    def live(moments: set[int], id: str) -> None:
        if 0 in moments:
            clock.set_back()
        agent.ask("create", id, shell(id, WAITS))
        if 1 in moments:
            clock.set_back()
        assert agent.ask("is_running", id)
        wait_until(lambda: agent.ask("output", id)[0][0], "its first word")
        if 2 in moments:
            clock.set_back()
        began = time.monotonic()
        with pytest.raises(Failed, match="DeadlineExceeded"):
            agent.ask("wait", id, 0.3)
        assert 0.25 < time.monotonic() - began < PATIENCE
        agent.ask("signal", id, signal.SIGTERM)
        if 3 in moments:
            clock.set_back()
        assert agent.ask("wait", id, PATIENCE) == 3
        assert agent.wait_for_exit(id) == 3
        assert agent.ask("exit_status", id) == 3
        assert agent.ask("output", id) == OUTPUT

    ids = [new_id() for _ in [0, *rounds]]
    for moments, id in zip([{0, 1, 2, 3}, *({dice.randrange(4)} for _ in rounds)], ids, strict=True):
        live(moments, id)
    assert clock.is_set_back_for(agent)
    assert [(id, code) for id, code, _ in agent.exits] == [(id, 3) for id in ids]
    assert all(is_now(exited_at) for _, _, exited_at in agent.exits)  # which is containerd's
    assert client.containers() == []


def test_an_end_that_no_event_tells_is_found_though_the_clock_is_set_back_while_it_is_looked_for(
    new_agent: NewAgent, clock: Clock, id: str, shell: Shell, dice: random.Random
) -> None:
    agent = new_agent()
    agent.ask("create", id, shell(id, WAITS))
    wait_until(lambda: agent.ask("output", id)[0][0], "its first word")
    for child in psutil.Process(agent.pid).children(recursive=True):
        child.suspend()  # ctr events
    agent.ask("signal", id, signal.SIGTERM)
    time.sleep(dice.uniform(0, GRACE / 2))
    clock.set_back()
    assert agent.wait_for_exit(id) == 3
    assert agent.ask("output", id) == OUTPUT


def test_a_plugin_is_restored_though_the_clock_was_set_back_since_it_began(
    new_agent: NewAgent, clock: Clock, new_id: NewId, shell: Shell, client: Client, dice: random.Random
) -> None:
    lives, ends = new_id(), new_id()
    first = new_agent()
    for id in (lives, ends):
        first.ask("create", id, shell(id, WAITS))
    wait_until(lambda: all(first.ask("output", id)[0][0] for id in (lives, ends)), "their first words")
    if dice.random() < 0.5:
        clock.set_back()
    first.end()
    clock.set_back()
    client.kill(ends, signal.SIGTERM)
    wait_for_state(client, ends, TaskState.STOPPED)
    second = new_agent()
    assert second.ask("restore", lives)
    assert not second.ask("restore", ends)
    assert clock.is_set_back_for(second)
    assert second.ask("exit_status", ends) == 3
    assert second.ask("is_running", lives)
    clock.set_back()
    second.ask("signal", lives, signal.SIGTERM)
    assert second.wait_for_exit(lives) == 3
    assert [second.ask("output", id) for id in (lives, ends)] == [[["end\n", 1], ["", 1]]] * 2
    assert second.codes(lives) == [3]
    assert second.codes(ends) == first.codes(ends) == []


def test_the_time_in_an_event_decides_nothing(
    new_executor: Callable[..., Executor], remote: Remote, tmp_path: Path, new_id: NewId, shell: Shell, exits: Exits
) -> None:
    odd = r"""sed -uE 's/"exited_at":("[^"]*"|\{[^}]*\})/"exited_at":"2001-01-01T00:00:00Z"/'"""
    script = f"""
        case $7 in events) {shutil.which("ctr")} "$@" | {odd}; exit ;; esac
        exec {shutil.which("ctr")} "$@"
    """
    executor = new_executor(remote=Remote(remote.address, ctr=fake_command(tmp_path / "ctr", script)))
    ids = [new_id(), new_id()] * 2
    for id in ids:
        executor.create(id, shell(id, "exit 3"))
        assert executor.wait(id, timeout=PATIENCE).exit_code == 3
    told = exits.wait_for(len(ids))
    assert [id for id, _ in told] == ids
    assert {status.exited_at for _, status in told} == {datetime(2001, 1, 1, tzinfo=timezone.utc)}
