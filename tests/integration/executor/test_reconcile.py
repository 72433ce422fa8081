"""Exits that no event tells are found by asking.

Real: containerd, which is killed, and ``ctr events``, which is stopped.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from pluginexec import Containerd, Executor, Unavailable
from pluginexec.linux.pidfd import InitProcess
from tests.integration.executor.test_lives import FOREVER
from tests.support.harness import Buffer, Exits, wait_until

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
WAIT_FOR_TERM = "trap 'echo words; exit 42' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def ready(executor: Executor, id: str, shell: Shell) -> tuple[Executor, Buffer]:
    """An executor with a plugin that ends with code 42 on SIGTERM, and its stdout."""
    stdout = Buffer()
    executor.create(id, shell(id, WAIT_FOR_TERM), stdout)
    wait_until(lambda: stdout.data == b"ready\n", "the plugin")
    return executor, stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("kernel_knows", [True, False], ids=["code from the kernel", "code from containerd"])
def test_an_exit_is_not_lost_with_the_event_stream(
    ready: tuple[Executor, Buffer],
    id: str,
    exits: Exits,
    number: signal.Signals,
    kernel_knows: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not kernel_knows:  # as before Linux 6.15
        monkeypatch.setattr(InitProcess, "exit_code", lambda self: None)
    executor, stdout = ready
    events = executor._events
    assert events
    assert events._child
    os.kill(events._child.pid, number)
    executor.signal(id, "TERM")
    assert [(told, status.exit_code) for told, status in exits.wait_for(1)] == [(id, 42)]
    assert (stdout.data, stdout.closings) == (b"ready\nwords\n", 1)


def test_the_stream_that_missed_an_exit_is_replaced(
    ready: tuple[Executor, Buffer], id: str, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pluginexec.containerd.events.DISTRUST_AFTER", 0.0)
    executor, _ = ready
    events = executor._events
    assert events
    child = events._child
    assert child
    os.kill(child.pid, signal.SIGSTOP)
    executor.signal(id, "TERM")
    exits.wait_for(1)
    wait_until(lambda: events._child not in (None, child), "another stream")


def test_an_exit_while_containerd_is_down_is_delivered_when_it_is_back(
    mortal: Containerd, new_executor: NewExecutor, id: str, shell: Shell, exits: Exits
) -> None:
    executor = new_executor(remote=mortal.remote)
    stdout = Buffer()
    executor.create(id, shell(id, WAIT_FOR_TERM), stdout)
    wait_until(lambda: stdout.data == b"ready\n", "the plugin")
    init = executor._table.get(id).pid
    assert mortal.pid
    os.kill(mortal.pid, signal.SIGKILL)
    os.kill(init, signal.SIGTERM)
    told = exits.wait_for(1)
    assert [id for id, _ in told] == [id]
    # 1.7 and later forget the code as they start; then the kernel tells it, if it is new enough.
    assert told[0][1].exit_code in (42, None)
    assert (stdout.data, stdout.closings) == (b"ready\nwords\n", 1)
    executor.create(id, shell(id, "exit 3"))
    assert executor.wait(id, timeout=30).exit_code == 3


def test_a_plugin_runs_on_while_containerd_restarts(
    mortal: Containerd,
    new_executor: NewExecutor,
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pluginexec.daemon.supervisor.FIRST_PAUSE", 3.0)  # long enough to find it dead
    executor = new_executor(remote=mortal.remote)
    executor.create(id := new_id(), shell(id, FOREVER))
    before = mortal.pid
    assert before
    os.kill(before, signal.SIGKILL)
    with pytest.raises(Unavailable):
        executor.create(new_id(), shell("x", FOREVER))
    assert executor.is_running(id)
    wait_until(lambda: mortal.pid not in (None, before), "the next containerd")
    wait_until(lambda: id in executor._client.tasks(), "its answer")
    assert executor.is_running(id)
    assert executor.stop(id).exit_code == 0
    assert [told for told, _ in exits.wait_for(1)] == [id]
