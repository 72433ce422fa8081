"""The keeping of one plugin, in what serve as a whole cannot be made to do at will.

Real: containerd, the plugin, the supervisor with its thread. Pauses are made short or long, containerd's absence and
a person who is quicker are put between the steps.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd, Executor, ExitStatus
from pluginexec.errors import Unavailable
from pluginexec.host.host import Host
from pluginexec.host.records import State, is_alive
from pluginexec.host.serve import plugin_supervisor as supervisor
from pluginexec.host.serve.executors import Executors
from pluginexec.host.serve.plugin_supervisor import PluginSupervisor, Request
from tests.support.harness import wait_until
from tests.support.plugins import Plugins


class Kept:
    """A plugin that runs, with its supervisor."""

    def __init__(self, plugins: Plugins, **changes: Any) -> None:
        self.plugins = plugins
        self.id = plugins.run(**changes)
        self.executors = Executors(plugins.host.layout, lambda id: self.supervisor.wake())
        self.supervisor = PluginSupervisor(
            plugins.host, self.id, self.executors, lambda: None, at_start=False, patience=0.0
        )
        self.supervisor.start()
        wait_until(lambda: self.supervisor.doing == "running", "the takeover")

    @property
    def state(self) -> State:
        """What is written of it."""
        return self.plugins.records.state(self.id)

    def kill(self) -> None:
        """Have it end, as by itself."""
        os.kill(self.state.pid, signal.SIGKILL)

    def await_restart(self, count: int) -> None:
        """Wait until it runs again."""
        wait_until(lambda: self.state.restart_count == count and is_alive(self.state), f"restart {count}")
        wait_until(lambda: self.supervisor.doing == "running", "its supervisor")

    def close(self) -> None:
        """Stop both."""
        self.supervisor.tell(Request.STOP)
        self.supervisor.join()
        self.executors.close()


@pytest.fixture
def keep(
    clean_namespace: None, root_dir: Path, containerd: Containerd, new_id: Callable[[], str], shell: Any
) -> Iterator[Callable[..., Kept]]:
    kept: list[Kept] = []

    def make(**changes: Any) -> Kept:
        kept.append(Kept(Plugins(root_dir, containerd.address, new_id, shell), **{"restart": "always", **changes}))
        return kept[-1]

    yield make
    for each in kept:
        each.close()


def test_pauses_grow_with_each_early_end_and_begin_anew_after_a_life_that_was_long_enough(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[int] = []

    def note(restarts: int) -> float:
        pauses.append(restarts)
        return 0.0

    monkeypatch.setattr(supervisor, "pause_before", note)
    kept = keep()
    for count in (1, 2, 3):
        kept.kill()
        kept.await_restart(count)
    monkeypatch.setattr(supervisor, "STEADY_AFTER", 0.0)
    kept.kill()
    kept.await_restart(4)
    assert pauses == [0, 1, 2, 0]


def test_an_exit_that_is_told_twice_is_one_restart(keep: Callable[..., Kept]) -> None:
    kept = keep()
    old = kept.state.pid
    kept.kill()
    kept.await_restart(1)
    state = kept.state
    kept.executors.handle_exit_event(kept.id, ExitStatus(137, datetime.now(timezone.utc), old))
    wait_until(lambda: not kept.supervisor._wake.is_set(), "the supervisor's look")
    assert kept.state == state
    assert kept.plugins.records.is_locked(kept.id)


def test_one_that_a_person_stops_while_it_is_being_started_again_is_stopped(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Host.launch

    def launch_and_lose(self: Host, *arguments: Any, **changes: Any) -> None:
        launch(self, *arguments, **changes)
        self.records.mark_stopped(kept.id)

    kept = keep()
    monkeypatch.setattr(Host, "launch", launch_and_lose)
    kept.kill()
    wait_until(lambda: kept.supervisor.is_over, "the end of it")
    assert (kept.state.status, kept.state.restart_count) == ("exited", 1)
    assert not is_alive(kept.state)


def test_a_restart_that_containerd_is_not_there_for_does_not_count(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Executor.create
    failures = [Unavailable("containerd is away")] * 3

    def create_later(self: Executor, *arguments: Any) -> None:
        if failures:
            raise failures.pop()
        create(self, *arguments)

    kept = keep(restart="on-failure:1")
    monkeypatch.setattr(Executor, "create", create_later)
    kept.kill()
    kept.await_restart(1)
    assert not failures


def test_a_state_that_cannot_be_written_does_not_end_the_supervision(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = keep()
    write_state = kept.plugins.records.write_state
    failures = ["exited", "exited", "running", "running"]  # at its end, and again after its next start

    def write_later(id: str, state: State) -> None:
        if state.status in failures:
            failures.remove(state.status)
            raise Unavailable("the disk is full")
        write_state(id, state)

    monkeypatch.setattr(supervisor, "pause_before", lambda restarts: 0.05)
    monkeypatch.setattr(kept.plugins.records, "write_state", write_later)
    kept.kill()
    wait_until(lambda: not failures and is_alive(kept.state), "its next life")
    wait_until(lambda: kept.supervisor.doing == "running", "its supervisor")
    assert kept.plugins.records.is_locked(kept.id)
    assert caplog.text.count("the disk is full; trying again") >= 1


def test_one_that_is_removed_in_a_pause_has_no_supervisor_any_more(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "pause_before", lambda restarts: 1000.0)
    kept = keep()
    kept.kill()
    wait_until(lambda: kept.supervisor.doing == "restarting", "the pause")
    kept.plugins.host.remove(kept.id)
    kept.supervisor.wake()
    wait_until(lambda: kept.supervisor.is_over, "its end")
    assert not [record for record in caplog.records if record.name == supervisor.log.name]
