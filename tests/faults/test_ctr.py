"""Every operation while ``ctr`` hangs, is slow, prints rubbish, returns odd codes, lies, or is replaced.

Real: containerd, the containers, and ``ctr`` behind a wrapper that passes on to it, except where a test tells it to
misbehave. How long an answer is waited for is cut down for the commands that hang, and for no other.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import (
    DeadlineExceeded,
    Executor,
    FailedPrecondition,
    PluginExecError,
    Remote,
    Unavailable,
    Unknown,
)
from pluginexec.containerd.client import DELETE_TIMEOUT, Client
from pluginexec.linux.pidfd import InitProcess
from pluginexec.types import TaskState
from tests.support.debian import CACHE
from tests.support.fleet import KERNEL_TELLS_CODES, signal_stream
from tests.support.harness import PATIENCE, Buffer, Exits, live_children, wait_until
from tests.support.wrapper import Wrapper

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
NewId = Callable[[], str]
WAITS = "trap 'echo bye; exit 7' TERM; echo hello; sleep 1000 & wait"
LIMIT = 0.4
"""Seconds that a command that hangs is given."""


@dataclass(frozen=True)
class Fault:
    """What ``ctr`` does instead, and the error that is right for it."""

    script: str
    error: type[PluginExecError]
    limit: float | None = None


FAULTS = {
    "hangs": Fault("exec sleep 1000", DeadlineExceeded, LIMIT),
    "is stopped": Fault("kill -STOP $$", DeadlineExceeded, LIMIT),
    "is too slow": Fault("sleep 1000", DeadlineExceeded, LIMIT),
    "is deaf and goes on as a child": Fault("trap '' TERM INT HUP; sleep 1000 & exit 0", DeadlineExceeded, LIMIT),
    "never stops talking": Fault("exec yes 'ctr: not found'", Unknown),
    "never stops complaining": Fault("exec yes 'ctr: not found' >&2", Unknown),
    "says nothing": Fault("exit 1", Unknown),
    "talks rubbish": Fault('cat "$here/rubbish"; cat "$here/rubbish" >&2; exit 1', Unknown),
    "is of another kind": Fault("echo \"No help topic for '$7'\" >&2; exit 3", FailedPrecondition),
    "returns 137": Fault("exit 137", Unknown),
    "is killed": Fault("kill -KILL $$", Unknown),
    "crashes": Fault("kill -SEGV $$", Unknown),
}
each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@pytest.fixture
def wrapper(tmp_path: Path, dice: random.Random) -> Iterator[Wrapper]:
    """The wrapper, with some rubbish at hand that is no UTF-8; nothing that a fault has started outlives the test."""
    wrapper = Wrapper(tmp_path / "bin")
    (wrapper.directory / "rubbish").write_bytes(dice.randbytes(dice.randrange(1, 5000)) + b"\xff\0\xc3\n")
    before = live_children()
    yield wrapper
    wrapper.repair()
    wrapper.heal()
    wait_until(lambda: live_children() <= before, "the end of what a fault has started")


@pytest.fixture
def shaky_remote(remote: Remote, wrapper: Wrapper) -> Remote:
    """The containerd, reached through the wrapper."""
    return Remote(remote.address, ctr=str(wrapper.path), runner=wrapper.runner)


@pytest.fixture
def shaky(wrapper: Wrapper, new_executor: NewExecutor, shaky_remote: Remote) -> Executor:
    """An executor on the wrapper."""
    return new_executor(remote=shaky_remote)


def fails(operation: Callable[[], object], error: type[PluginExecError]) -> PluginExecError:
    """See that an operation raises the right error in time; return it."""
    began = time.monotonic()
    with pytest.raises(error) as caught:
        operation()
    assert time.monotonic() - began < LIMIT + PATIENCE
    assert type(caught.value) is error
    assert len(str(caught.value)) < 1000
    return caught.value


def lives_as_it_should(executor: Executor, id: str, shell: Shell) -> None:
    """See that a plugin of this id runs, and ends with its last words and its code."""
    stdout = Buffer()
    executor.create(id, shell(id, WAITS), stdout)
    wait_until(lambda: stdout.data, "the plugin")
    ends_as_it_should(executor, id, stdout)


def ends_as_it_should(executor: Executor, id: str, stdout: Buffer) -> None:
    """Stop a plugin; see that its last words and its code come."""
    assert executor.is_running(id)
    assert executor.stop(id, timeout=PATIENCE).exit_code == 7
    assert (stdout.data, stdout.closings) == (b"hello\nbye\n", 1)


# Each operation, each fault.


@each_fault
def test_create_fails_in_time_and_leaves_nothing(
    shaky: Executor, wrapper: Wrapper, id: str, shell: Shell, client: Client, exits: Exits, fault: Fault
) -> None:
    # Before containerd hears of it, and after it did as it was told.
    for begin in ("", '"$here/real" "$@" >"$here/said" 2>&1\n'):
        wrapper.inject("run", begin + fault.script, fault.limit)
        stdout = Buffer()
        error = fails(lambda stdout=stdout: shaky.create(id, shell(id, WAITS), stdout), fault.error)  # type: ignore[misc]
        assert (error.operation, error.id) == ("create", id)
        assert (client.tasks(), client.containers()) == ({}, [])
        assert stdout.closings == 0
        assert not shaky._root.plugin(id).directory.exists()
    wrapper.heal()
    lives_as_it_should(shaky, id, shell)
    assert [told for told, _ in exits.wait_for(1)] == [id]


@each_fault
def test_what_asks_or_signals_fails_in_time_and_changes_nothing(
    shaky: Executor, wrapper: Wrapper, id: str, shell: Shell, exits: Exits, fault: Fault
) -> None:
    stdout = Buffer()
    shaky.create(id, shell(id, WAITS), stdout)
    wait_until(lambda: stdout.data, "the plugin")
    for command, operation in (
        ("tasks-kill", lambda: shaky.signal(id, "TERM")),
        ("tasks-kill", lambda: shaky.stop(id)),
        ("tasks-ls", shaky._client.tasks),
        ("version", shaky._client.server_version),
    ):
        wrapper.inject(command, fault.script, fault.limit)
        fails(operation, fault.error)
        assert shaky.is_running(id)
        wrapper.heal()
    ends_as_it_should(shaky, id, stdout)
    assert [(told, status.exit_code) for told, status in exits.wait_for(1)] == [(id, 7)]


@each_fault
def test_restore_fails_in_time_and_changes_nothing(
    shaky: Executor,
    shaky_remote: Remote,
    new_executor: NewExecutor,
    wrapper: Wrapper,
    id: str,
    shell: Shell,
    fault: Fault,
) -> None:
    first, stdout = Buffer(), Buffer()
    shaky.create(id, shell(id, WAITS), first)
    wait_until(lambda: first.data, "the plugin")
    shaky.close()
    second = new_executor(remote=shaky_remote)
    wrapper.inject("tasks-ls", fault.script, fault.limit)
    error = fails(lambda: second.restore(id, stdout), fault.error)
    assert (error.operation, error.id) == ("restore", id)
    wrapper.heal()
    assert stdout.closings == 0
    assert second.restore(id, stdout)
    assert second.stop(id, timeout=PATIENCE).exit_code == 7
    assert (first.data + stdout.data, stdout.closings) == (b"hello\nbye\n", 1)


def test_an_exit_code_that_containerd_alone_knows_survives_its_restart(
    shaky: Executor, wrapper: Wrapper, id: str, shell: Shell, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InitProcess, "exit_code", lambda self: None)  # as of one that ended before it could be held
    closing = """mkdir "$here/asked" 2>/dev/null && { echo 'ctr: transport is closing: unavailable' >&2; exit 1; }"""
    wrapper.inject("tasks-rm", closing)
    stdout = Buffer()
    shaky.create(id, shell(id, WAITS), stdout)
    wait_until(lambda: stdout.data, "the plugin")
    assert signal_stream(shaky, signal.SIGSTOP)
    shaky.signal(id, "TERM")
    assert [(told, status.exit_code) for told, status in exits.wait_for(1)] == [(id, 7)]
    assert (wrapper.directory / "asked").exists()


def test_what_an_ended_plugin_left_is_deleted_though_its_id_could_not_be_created_anew(
    shaky: Executor,
    wrapper: Wrapper,
    id: str,
    shell: Shell,
    client: Client,
    exits: Exits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pluginexec.streams.streams.DRAIN_IDLE", 0.2)
    monkeypatch.setattr("pluginexec.executor.executor._RETRY_CLEANUP_AFTER", 0.2)
    away = "echo 'ctr: failed to dial: connection refused' >&2; exit 1"
    for command in ("containers-rm", "containers-ls", "tasks-ls"):
        wrapper.inject(command, away)
    shaky.create(id, shell(id, "exit 7"))
    exits.wait_for(1)
    wrapper.inject("run", away)
    with pytest.raises(Unavailable):
        shaky.create(id, shell(id, "exit 0"))
    wrapper.heal()
    wait_until(lambda: not client.containers(), "the deletion of what was left")


def test_where_the_deletion_fails_the_exit_is_told_and_the_container_goes_later(
    shaky: Executor,
    wrapper: Wrapper,
    new_id: NewId,
    shell: Shell,
    client: Client,
    exits: Exits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pluginexec.streams.streams.DRAIN_IDLE", 0.5)
    monkeypatch.setattr("pluginexec.executor.executor._RETRY_CLEANUP_AFTER", 0.2)
    monkeypatch.setattr("pluginexec.executor.deferred_cleanup.SETTLE_TIMEOUT", 0.5)
    plugins = {new_id(): Buffer() for _ in FAULTS}
    for (id, stdout), fault in zip(plugins.items(), FAULTS.values(), strict=True):
        shaky.create(id, shell(id, WAITS), stdout)
        wrapper.inject(f"containers-rm@{id}", fault.script, fault.limit)
    for id, stdout in plugins.items():
        wait_until(lambda stdout=stdout: stdout.data, "the plugin")  # type: ignore[misc]
        shaky.signal(id, "TERM")
    told = exits.wait_for(len(plugins))
    assert {id: status.exit_code for id, status in told} == dict.fromkeys(plugins, 7)
    assert all((stdout.data, stdout.closings) == (b"hello\nbye\n", 1) for stdout in plugins.values())
    assert set(client.containers()) == set(plugins)
    wrapper.heal()
    wait_until(lambda: not client.containers(), "the deletion of what was left")
    lives_as_it_should(shaky, next(iter(plugins)), shell)
    assert len(exits.wait_for(len(plugins) + 1)) == len(plugins) + 1
    # However impatient somebody is.
    asked = [timeout for command, timeout in wrapper.runner.asked if command == "containers-rm"]
    assert min(asked) >= DELETE_TIMEOUT


# Faults that are no failures.


def test_a_ctr_that_is_slow_and_noisy_but_right_does_no_harm(
    shaky: Executor, shaky_remote: Remote, new_executor: NewExecutor, wrapper: Wrapper, id: str, shell: Shell
) -> None:
    for command in ("run", "tasks-ls", "tasks-kill", "containers-rm", "namespaces-label", "version"):
        wrapper.inject(command, 'cat "$here/rubbish" >&2; sleep 0.3')
    stdout = Buffer()
    shaky.create(id, shell(id, WAITS), stdout)
    wait_until(lambda: stdout.data, "the plugin")
    shaky.close()
    second, rest = new_executor(remote=shaky_remote), Buffer()
    assert second._client.server_version()
    assert second.restore(id, rest)
    assert second.stop(id, timeout=PATIENCE).exit_code == 7
    assert stdout.data + rest.data == b"hello\nbye\n"


def test_a_ctr_that_lies_is_found_out_where_its_answer_matters(
    shaky: Executor,
    wrapper: Wrapper,
    id: str,
    new_id: NewId,
    shell: Shell,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pluginexec.streams.streams.DRAIN_IDLE", 0.5)
    stdout = Buffer()
    shaky.create(id, shell(id, WAITS), stdout)
    wait_until(lambda: stdout.data, "the plugin")
    for command in ("run", "tasks-ls", "version", "tasks-kill", "containers-rm"):
        wrapper.inject(command, 'cat "$here/rubbish"; exit 0')
    other = new_id()
    fails(lambda: shaky.create(other, shell(other, WAITS)), Unknown)
    assert other not in client.containers()
    fails(shaky._client.tasks, Unknown)
    fails(shaky._client.server_version, Unknown)
    shaky.signal(id, "KILL")
    assert shaky.is_running(id)
    # It has not deleted what it says it has: the exit comes none the less, and the id is free.
    client.kill(id, signal.SIGTERM)
    assert shaky.wait(id, timeout=PATIENCE).exit_code == 7
    wrapper.heal()
    assert client.containers() == [id]
    lives_as_it_should(shaky, id, shell)


# Another file in its place.


def broken(wrapper: Wrapper) -> None:
    wrapper.replace(b"\x7fELF, or so it says")


def empty(wrapper: Wrapper) -> None:
    wrapper.replace(b"")


def without_interpreter(wrapper: Wrapper) -> None:
    wrapper.replace(b"#!/no/such/interpreter\n")


def not_executable(wrapper: Wrapper) -> None:
    wrapper.replace(b"#!/bin/sh\n", mode=0o644)


def directory(wrapper: Wrapper) -> None:
    wrapper.remove()
    wrapper.path.mkdir()


def missing(wrapper: Wrapper) -> None:
    wrapper.remove()


@pytest.mark.parametrize("replace", [broken, empty, without_interpreter, not_executable, directory, missing])
def test_a_ctr_that_is_replaced_by_what_is_none_is_a_failed_precondition_until_it_is_back(
    shaky: Executor,
    wrapper: Wrapper,
    id: str,
    new_id: NewId,
    shell: Shell,
    client: Client,
    exits: Exits,
    replace: Callable[[Wrapper], None],
) -> None:
    stdout = Buffer()
    shaky.create(id, shell(id, WAITS), stdout)
    wait_until(lambda: stdout.data, "the plugin")
    replace(wrapper)
    assert signal_stream(shaky, signal.SIGKILL)
    other = new_id()
    for operation in (
        lambda: shaky.create(other, shell(other, WAITS)),
        lambda: shaky.signal(id, "TERM"),
        lambda: shaky.stop(id),
        lambda: shaky._client.server_version(),
    ):
        assert "cannot run" in str(fails(operation, FailedPrecondition))
    assert shaky.is_running(id)
    assert not shaky._root.plugin(other).directory.exists()
    client.kill(id, signal.SIGTERM)
    wait_until(lambda: not shaky.is_running(id), "the kernel's word")
    assert exits.ids == []
    wrapper.repair()
    assert [(told, status.exit_code) for told, status in exits.wait_for(1)] == [(id, 7)]
    assert (stdout.data, stdout.closings) == (b"hello\nbye\n", 1)
    lives_as_it_should(shaky, other, shell)
    assert len(exits.wait_for(2)) == 2


def test_a_ctr_that_is_replaced_by_another_version_goes_on(
    shaky: Executor,
    wrapper: Wrapper,
    shell: Shell,
    new_id: NewId,
    exits: Exits,
    dice: random.Random,
) -> None:
    found = sorted(CACHE.glob("*/containerd/usr/bin/ctr"))
    versions = [*found, (wrapper.directory / "real").readlink()]
    dice.shuffle(versions)
    plugins = {new_id(): Buffer() for _ in versions}
    for version, (id, stdout) in zip(versions, plugins.items(), strict=True):
        wrapper.use(version)
        shaky.create(id, shell(id, WAITS), stdout)
        assert shaky._client.server_version()
        wait_until(lambda stdout=stdout: stdout.data, "the plugin")  # type: ignore[misc]
    for version, (id, stdout) in zip(dice.sample(versions, len(versions)), plugins.items(), strict=True):
        wrapper.use(version)
        assert shaky._events
        assert shaky._events._child
        os.kill(shaky._events._child.pid, signal.SIGKILL)
        ends_as_it_should(shaky, id, stdout)
    assert len(exits.wait_for(len(versions))) == len(versions)


# An interrupt.


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Python ignores SIGINT where its parent, such as a shell that ran it in the background, did."""
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, was)


INTERRUPT = "kill -INT $PPID; sleep 0.3"
"""And then the real one."""


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_does_not_cut_the_deletion_of_a_failed_create_short(
    shaky: Executor, wrapper: Wrapper, id: str, shell: Shell, client: Client
) -> None:
    wrapper.inject("run", '"$here/real" "$@"; exit 1')
    wrapper.inject("tasks-rm", INTERRUPT)
    with pytest.raises(KeyboardInterrupt):
        shaky.create(id, shell(id, WAITS))
    assert (client.tasks(), client.containers()) == ({}, [])
    wrapper.heal()
    lives_as_it_should(shaky, id, shell)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_does_not_cut_the_deletion_of_a_restore_short(
    shaky: Executor, shaky_remote: Remote, new_executor: NewExecutor, wrapper: Wrapper, id: str, shell: Shell
) -> None:
    shaky.create(id, shell(id, WAITS), Buffer())
    init = psutil.Process(shaky._table.get(id).pid)
    shaky.close()
    init.kill()
    wait_until(lambda: not init.is_running(), "the end of the plugin")
    second = new_executor(remote=shaky_remote)
    wrapper.inject("containers-rm", INTERRUPT)
    with pytest.raises(KeyboardInterrupt):
        second.restore(id, Buffer())
    assert second._client.containers() == []
    wrapper.heal()
    assert second.restore(id) is False
    assert second.exit_status(id).exit_code == 137
    lives_as_it_should(second, id, shell)


# The end of the executor.


def test_close_waits_for_no_answer_of_a_ctr_that_hangs(
    shaky: Executor, wrapper: Wrapper, id: str, shell: Shell, client: Client
) -> None:
    shaky.create(id, shell(id, WAITS), Buffer())
    events = shaky._events
    assert events
    assert events._child
    for command in ("events", "namespaces-label", "tasks-ls"):
        wrapper.inject(command, "exec sleep 1000")
    os.kill(events._child.pid, signal.SIGKILL)
    wait_until(lambda: events._marker, "the marker of the next stream")
    began = time.monotonic()
    shaky.close()
    print(f"close took {time.monotonic() - began:.3f} s")
    assert client.tasks()[id].state is TaskState.RUNNING


def test_the_code_is_known_of_one_that_has_ended_before_ctr_returned(
    wrapper: Wrapper, new_executor: NewExecutor, shaky_remote: Remote, root_dir: Path, id: str, shell: Shell
) -> None:
    """Neither events nor containerd tell it: only the kernel can, if the process was held in time."""
    pid = root_dir / "containers" / id / "pid"
    wrapper.inject("events", "exec sleep 1000")
    wrapper.inject("tasks-rm", "exit 1")
    wrapper.inject("run", f'"$here/real" "$@" || exit; while kill -0 "$(cat {pid})"; do sleep 0.02; done; exit 0')
    executor = new_executor(remote=shaky_remote)
    executor.create(id, shell(id, "sleep 1; exit 7"))  # long enough for a busy machine to look once
    status = executor.wait(id, 2 * PATIENCE)
    assert status.exit_code == (7 if KERNEL_TELLS_CODES else None)
