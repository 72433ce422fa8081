"""An id can be created again at once after a reboot, and after its root directory was deleted.

Real: containerd, which is killed and started again on its database, shims, containers, loggers. A reboot is played: all
processes are SIGKILLed, containerd's state directory, the cgroups and, mostly, the executor's root are deleted.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import AlreadyExists, Containerd, Executor, NotFound
from pluginexec.containerd.client import Client
from pluginexec.daemon.cleanup import kill_processes
from pluginexec.daemon.files import DaemonFiles
from pluginexec.linux.cgroups import remove_cgroups
from tests.support.fleet import KINDS, Member, assert_nothing_left, processes_of
from tests.support.harness import PATIENCE, Buffer, Exits, wait_until

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
NEVER = 3600.0
ENDS_ON_TERM = "trap 'echo end; exit 7' TERM; echo up; while :; do sleep 0.05; done"
IGNORES_TERM = "trap '' TERM; echo up; while :; do sleep 0.05; done"
ENDS_BY_ITSELF = "echo up; sleep 1; echo end; exit 7"


class Machine:
    """A private containerd that the power may be cut of."""

    def __init__(self, directory: Path) -> None:
        self.files = DaemonFiles(directory)
        self.containerd = Containerd(directory, leave_tasks=True)

    def boot(self) -> None:
        """Start containerd on what is there."""
        self.containerd.start()

    def cut_the_power(self, ids: list[str]) -> None:
        """SIGKILL everything, and lose what is in memory."""
        assert self.containerd.pid
        os.kill(self.containerd.pid, signal.SIGKILL)
        self.containerd.stop()  # it is not started again
        kill_processes(self.files)
        shutil.rmtree(self.files.state)
        for id in ids:
            remove_cgroups(f"/pluginexec/{id}")


@pytest.fixture
def machine(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that has booted; all that it runs is ended afterwards."""
    monkeypatch.setattr("pluginexec.daemon.supervisor.FIRST_PAUSE", NEVER)
    directory = tempfile.mkdtemp(prefix="px-", dir="/tmp")
    machine = Machine(Path(directory))
    try:
        machine.boot()
        yield machine
        machine.containerd.stop()
        with Containerd(directory):
            pass
    finally:
        machine.containerd.stop()
        shutil.rmtree(directory)


@pytest.mark.parametrize("kept", ["", "runtime-root", "runtime-root containers"])
def test_after_a_reboot_nothing_is_alive_and_each_id_can_be_created_at_once(
    kept: str,
    machine: Machine,
    new_executor: NewExecutor,
    root_dir: Path,
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    dice: random.Random,
) -> None:
    before = new_executor(remote=machine.containerd.remote)
    ids = [new_id() for _ in KINDS]
    for id, kind in zip(ids, dice.sample(KINDS, len(KINDS)), strict=True):
        Member(kind, id, dice, longest=NEVER).create(before, shell)
    time.sleep(dice.uniform(0.0, 0.3))
    before.close()
    machine.cut_the_power(ids)
    for part in {"runtime-root", "containers"} - set(kept.split()):
        shutil.rmtree(root_dir / part)
    machine.boot()
    told = len(exits.ids)
    executor = new_executor(remote=machine.containerd.remote)
    for id in dice.sample(ids, len(ids) // 2):
        stdout = Buffer()
        assert not executor.restore(id, stdout)
        assert stdout.closings == 1
        with pytest.raises(NotFound):
            executor.is_running(id)
    again = [Member(dice.choice(KINDS[:3]), id, dice) for id in dice.sample(ids, len(ids))]
    for member in again:
        member.create(executor, shell)
    wait_until(lambda: len(exits.ids) >= told + len(ids), "their exits")
    assert sorted(exits.ids[told:]) == sorted(ids)
    for member in again:
        assert executor.exit_status(member.id).exit_code == member.code
        assert (member.stdout.data, member.stderr.data) == (member.expected, b"over\n")
    assert_nothing_left(executor, *ids)


def check_that_it_is_free(executor: Executor, id: str, shell: Shell) -> None:
    """The id can be created at once, and then nothing is left."""
    executor.create(id, shell(id, "echo again; exit 3"), stdout := Buffer(), Buffer())
    assert executor.wait(id, PATIENCE).exit_code == 3
    assert stdout.data == b"again\n"
    assert_nothing_left(executor, id)


def signal_it(executor: Executor, id: str) -> None:
    executor.signal(id, "TERM")
    executor.wait(id, PATIENCE)
    with pytest.raises(NotFound):
        executor.signal(id, "TERM")


@pytest.mark.parametrize(
    ("script", "end", "code"),
    [
        pytest.param(ENDS_ON_TERM, signal_it, 7, id="by a signal"),
        pytest.param(ENDS_ON_TERM, lambda executor, id: executor.stop(id), 7, id="by a stop"),
        pytest.param(IGNORES_TERM, lambda executor, id: executor.stop(id, 0.1), 137, id="by force"),
        pytest.param(ENDS_BY_ITSELF, lambda executor, id: executor.wait(id, PATIENCE), 7, id="by itself"),
    ],
)
def test_a_plugin_whose_root_is_deleted_under_its_executor_is_ended_as_ever(
    script: str,
    end: Callable[[Executor, str], None],
    code: int,
    executor: Executor,
    root_dir: Path,
    id: str,
    shell: Shell,
    exits: Exits,
) -> None:
    stdout = Buffer()
    executor.create(id, shell(id, script), stdout, Buffer())
    wait_until(lambda: stdout.data == b"up\n", "the plugin")
    shutil.rmtree(root_dir)
    assert executor.is_running(id)
    end(executor, id)
    assert [(told, status.exit_code) for told, status in exits.wait_for(1)] == [(id, code)]
    assert stdout.data == (b"up\n" if code == 137 else b"up\nend\n")
    assert_nothing_left(executor, id)
    check_that_it_is_free(executor, id, shell)
    assert exits.ids == [id, id]


@pytest.fixture
def orphan(
    new_executor: NewExecutor, root_dir: Path, id: str, shell: Shell, client: Client
) -> Callable[[str], psutil.Process]:
    """Run a plugin, and then delete the root while nobody supervises it; return its init process."""

    def start(script: str) -> psutil.Process:
        first = new_executor()
        stdout = Buffer()
        first.create(id, shell(id, script), stdout, Buffer())
        wait_until(lambda: stdout.data.startswith(b"up\n"), "the plugin")
        first.close()
        shutil.rmtree(root_dir)
        return psutil.Process(client.tasks()[id].pid)

    return start


def test_a_plugin_whose_root_was_deleted_meanwhile_is_restored_with_its_streams(
    orphan: Callable[[str], psutil.Process], new_executor: NewExecutor, id: str, shell: Shell, exits: Exits
) -> None:
    # It prints more than its pipes hold, so that it would block if nobody read.
    script = "trap 'echo end; exit 7' TERM; echo up; seq -w 1 500000; echo said >&2; while :; do sleep 0.05; done"
    init = orphan(script)
    executor = new_executor()
    stdout, stderr = Buffer(), Buffer()
    assert executor.restore(id, stdout, stderr)
    with pytest.raises(AlreadyExists):
        executor.create(id, shell(id, "exit 0"))
    wait_until(lambda: stderr.data == b"said\n", "all that it says")
    status = executor.stop(id)
    assert (status.exit_code, status.pid) == (7, init.pid)
    assert stdout.data.endswith(b"499999\n500000\nend\n")
    assert exits.ids == [id]
    check_that_it_is_free(executor, id, shell)


def test_a_plugin_whose_root_was_deleted_meanwhile_keeps_its_id_until_it_ends(
    orphan: Callable[[str], psutil.Process], new_executor: NewExecutor, id: str, shell: Shell, client: Client
) -> None:
    init = orphan(ENDS_ON_TERM)
    executor = new_executor()
    with pytest.raises(AlreadyExists):
        executor.create(id, shell(id, "exit 0"))
    assert client.tasks()[id].pid == init.pid
    init.terminate()
    wait_until(lambda: client.tasks()[id].state.value == "STOPPED", "its end")
    check_that_it_is_free(executor, id, shell)


@pytest.mark.parametrize("restored", [True, False])
def test_a_plugin_whose_root_was_deleted_meanwhile_and_that_ended_unread_leaves_nothing(
    restored: bool,
    orphan: Callable[[str], psutil.Process],
    new_executor: NewExecutor,
    id: str,
    shell: Shell,
    client: Client,
) -> None:
    init = orphan("echo up; yes")
    init.kill()
    wait_until(lambda: client.tasks()[id].state.value == "STOPPED", "its end")
    executor = new_executor()
    # Either waits for as long as the shim waits for the logger, which nobody can read from any more.
    if restored:
        assert not executor.restore(id, stdout := Buffer())
        assert stdout.closings == 1
        assert not processes_of(id)
    check_that_it_is_free(executor, id, shell)
