"""Where no more processes and threads can be had, nothing is half made, and no exit is lost.

Real: containerd, the containers, an executor in a process of its own, in a cgroup that takes no more.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Remote
from pluginexec.containerd.client import Client
from tests.support.agent import Agent, Failed
from tests.support.harness import wait_until
from tests.support.shortages import ProcessLimit, holders

Shell = Callable[..., dict[str, Any]]
NewId = Callable[[], str]
WAITS = "trap 'echo end; exit 3' TERM; echo up; while :; do sleep 0.02; done"


@pytest.fixture
def limit(new_id: NewId) -> Iterator[ProcessLimit]:
    """A cgroup in which there can be only so many processes and threads."""
    limit = ProcessLimit(f"pluginexec-{new_id()}")
    yield limit
    limit.remove()


@pytest.fixture
def agent(clean_namespace: None, root_dir: Path, remote: Remote, limit: ProcessLimit) -> Iterator[Agent]:
    """An executor in a process that can be kept from having more processes and threads."""
    agent = Agent(root_dir, remote)
    limit.add(agent.pid)
    yield agent
    limit.lift()
    agent.end()


def test_without_processes_and_threads_nothing_is_half_made_and_exits_are_told_afterwards(
    agent: Agent,
    limit: ProcessLimit,
    root_dir: Path,
    new_id: NewId,
    shell: Shell,
    client: Client,
    dice: random.Random,
    rounds: range,
) -> None:
    def create_and_end_with(spare: int, pause: float, old: str, id: str) -> None:
        agent.ask("create", old, shell(old, WAITS))
        wait_until(lambda: agent.ask("output", old)[0][0], "its first word")
        pid = client.tasks()[old].pid
        limit.lower(spare)
        works = agent_creates(agent, id, shell(id, WAITS))
        os.kill(pid, signal.SIGTERM)
        time.sleep(pause)
        limit.lift()
        assert agent.wait_for_exit(old) == 3
        assert agent.ask("output", old) == [["up\nend\n", 1], ["", 1]]
        if not works:
            wait_until(lambda: client.containers() == [] and not loggers(root_dir), "that nothing is left")
            agent.ask("create", id, shell(id, WAITS))
        wait_until(lambda: agent.ask("output", id)[0][0], "its first word")
        agent.ask("signal", id, signal.SIGTERM)
        assert agent.wait_for_exit(id) == 3
        assert agent.ask("output", id) == [["up\nend\n", 1], ["", 1]]
        wait_until(lambda: client.containers() == [] and not loggers(root_dir), "that nothing is left")
        assert (agent.codes(old), agent.codes(id)) == ([3], [3])

    for spare in [0, *(dice.randrange(24) for _ in rounds)]:
        create_and_end_with(spare, dice.uniform(0, 0.5), new_id(), new_id())


def loggers(root: Path) -> set[tuple[int, str]]:
    """Return the processes of loggers that there are."""
    return {(pid, name) for pid, name in holders(root) if name in ("sh", "cat")}


def agent_creates(agent: Agent, id: str, spec: dict[str, Any]) -> bool:
    """Tell whether a create worked; where not, its error was a clear one and closed no writer."""
    try:
        agent.ask("create", id, spec)
    except Failed as error:
        kind, output = error.kind, agent.ask("output", id)
        print(error)
    else:
        return True
    assert kind == "Unavailable"
    assert output == [["", 0], ["", 0]]
    return False
