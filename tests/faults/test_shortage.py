"""What runs short makes a clear error and leaves nothing half made, and when it passes all is well again.

Real: containerd, the containers, a file system that is full or read-only, a limit on descriptors.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Executor, InvalidArgument, NotFound, PluginExecError, Unavailable
from pluginexec.containerd.client import Client
from tests.support.harness import Buffer, Exits, live_children, our_threads, wait_until
from tests.support.shortages import DISK_FAULTS, Disk, few_descriptors, holders

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
NewId = Callable[[], str]
WAITS = "trap 'echo end; exit 3' TERM; echo up; while :; do sleep 0.02; done"
ENOUGH_DESCRIPTORS = 26
"""More than any operation has open at once."""


@pytest.fixture(autouse=True)
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system; the first of all fixtures, because it must be there until all containers are deleted."""
    directory = tmp_path / "disk"
    directory.mkdir()
    disk = Disk(directory)
    yield disk
    disk.end()


@pytest.fixture
def root_dir(disk: Disk) -> Path:
    """A root directory on the small file system."""
    return disk.directory


@pytest.fixture(autouse=True)
def _retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.executor.executor._RETRY_CLEANUP_AFTER", 0.2)


def error_of(work: Callable[[], object]) -> PluginExecError | None:
    """Return the error of the tree that something ends with, one line; anything else is raised."""
    found = None
    try:
        work()
    except PluginExecError as error:
        found = error
    assert "\n" not in str(found)
    return found


def is_gone(client: Client, executor: Executor, id: str) -> bool:
    """Tell whether nothing is left of a plugin but its exit record."""
    files = executor._root.plugin(id)
    state = executor._root.runtime_root / client.namespace / id
    left = set(os.listdir(files.directory)) if files.directory.exists() else set()
    return id not in {*client.tasks(), *client.containers()} and not state.exists() and left <= {"exit.json"}


def try_to_create(executor: Executor, id: str, spec: dict[str, Any]) -> tuple[bool, Buffer]:
    """Create a plugin that runs, with one writer for both streams; or fail, as for want of something."""
    both = Buffer()
    error = error_of(lambda: executor.create(id, spec, both, both))
    if error:
        assert type(error) is Unavailable
        assert (both.data, both.closings) == (b"", 0)
        return False, both
    assert executor.is_running(id)
    return True, both


def live_to_the_end(executor: Executor, exits: Exits, id: str, output: Buffer) -> None:
    """Have a plugin told to end: all that it says arrives, and its exit is told once."""
    wait_until(lambda: output.data, "its first word")
    assert executor.stop(id).exit_code == 3
    wait_until(lambda: id in exits.ids, "its exit")
    assert (output.data, output.closings) == (b"up\nend\n", 1)
    assert executor.exit_status(id).exit_code == 3
    assert exits.ids.count(id) == 1


@pytest.mark.parametrize("fault", DISK_FAULTS)
def test_a_create_that_the_disk_stops_leaves_nothing(
    executor: Executor,
    disk: Disk,
    fault: str,
    new_id: NewId,
    shell: Shell,
    client: Client,
    exits: Exits,
    dice: random.Random,
    rounds: range,
) -> None:
    for spare in [0, *(dice.randrange(12) for _ in rounds)]:
        id = new_id()
        disk.spoil(fault, spare)
        works, output = try_to_create(executor, id, shell(id, WAITS))
        if not works:
            assert is_gone(client, executor, id)
        disk.repair()
        if not works:
            executor.create(id, shell(id, WAITS), output, output)
        live_to_the_end(executor, exits, id, output)


def test_an_exit_is_told_though_the_disk_takes_no_record_and_is_on_record_when_it_does(
    executor: Executor,
    disk: Disk,
    new_id: NewId,
    shell: Shell,
    client: Client,
    exits: Exits,
    dice: random.Random,
    rounds: range,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def end_while(fault: str, id: str) -> None:
        output = Buffer()
        executor.create(id, shell(id, WAITS), output)
        wait_until(lambda: output.data, "its first word")
        disk.spoil(fault)
        assert executor.stop(id).exit_code == 3
        wait_until(lambda: id in exits.ids, "its exit")
        assert (output.data, output.closings) == (b"up\nend\n", 1)
        if fault == "read-only":
            assert f"{id}: its exit could not be recorded" in caplog.text
            assert isinstance(error_of(lambda: executor.exit_status(id)), NotFound)
        else:  # the room for it was reserved
            assert executor.exit_status(id).exit_code == 3
        disk.repair()
        wait_until(lambda: executor._root.plugin(id).read_exit() and is_gone(client, executor, id), "the record alone")
        assert executor.exit_status(id) == dict(exits.wait_for(0))[id]
        assert exits.ids.count(id) == 1
        # Its logger has a deleted file open for a second: room on the next one's full disk when it ends.
        wait_until(lambda: not holders(disk.directory), "the end of its logger")

    for fault in [*DISK_FAULTS, *(dice.choice(DISK_FAULTS) for _ in rounds)]:
        end_while(fault, new_id())


@pytest.mark.parametrize("fault", DISK_FAULTS)
def test_a_running_plugin_is_restored_when_the_disk_is_well_at_the_latest(
    new_executor: NewExecutor, disk: Disk, fault: str, id: str, shell: Shell, exits: Exits
) -> None:
    before = new_executor()
    output, rest = Buffer(), Buffer()
    before.create(id, shell(id, WAITS), output)
    wait_until(lambda: output.data, "its first word")
    before.close()
    executor = new_executor()
    disk.spoil(fault)
    error = error_of(lambda: executor.restore(id, rest))
    disk.repair()
    if error:
        assert type(error) is Unavailable
        assert rest.closings == 0
        assert executor.restore(id, rest)
    assert executor.stop(id).exit_code == 3
    assert (output.data, rest.data, rest.closings) == (b"up\n", b"end\n", 1)
    assert len(exits.wait_for(1)) == 1


@pytest.mark.parametrize("fault", DISK_FAULTS)
def test_an_executor_that_cannot_have_its_root_says_so_and_can_later(
    new_executor: NewExecutor, disk: Disk, root_dir: Path, fault: str
) -> None:
    disk.spoil(fault)
    error = error_of(lambda: new_executor(root=root_dir / "a" / "root"))
    # Of a full disk a directory takes nothing here; what is read-only when we start is so for good.
    expected = {"full": type(None), "out of inodes": Unavailable, "read-only": InvalidArgument}
    assert type(error) is expected[fault]
    disk.repair()
    new_executor(root=root_dir / "b" / "root")


def test_a_full_disk_under_a_path_sink_does_not_hurt_the_plugin_and_later_words_arrive(
    new_executor: NewExecutor, disk: Disk, tmp_path: Path, id: str, shell: Shell
) -> None:
    log, stderr = disk.directory / "log", Buffer()
    script = f"head -c 4000000 /dev/zero; echo written >&2; {WAITS}"
    executor = new_executor(root=tmp_path / "root")
    executor.create(id, shell(id, script), log, stderr)
    wait_until(lambda: stderr.data == b"written\n", "that it could write on")
    assert executor.is_running(id)
    assert log.stat().st_size > 300_000
    log.write_bytes(b"")
    wait_until(lambda: not discards(executor, id), "that the logger tries again")
    assert executor.stop(id).exit_code == 3
    assert log.read_bytes() == b"end\n"


def discards(executor: Executor, id: str) -> bool:
    """Tell whether the logger of a plugin throws away what it reads."""
    mark = str(executor._root.plugin(id).config)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "fd/5") == mark and (entry / "comm").read_text() == "timeout\n":
                return True
        except OSError:  # gone meanwhile, or without such a descriptor
            continue
    return False


def test_a_create_without_descriptors_leaves_nothing(
    executor: Executor, new_id: NewId, shell: Shell, client: Client, exits: Exits
) -> None:
    def create_with(spare: int, id: str) -> bool:
        with few_descriptors(spare):
            works, output = try_to_create(executor, id, shell(id, WAITS))
        if works:
            live_to_the_end(executor, exits, id, output)
        wait_until(lambda: is_gone(client, executor, id), "that nothing is left")
        return works

    worked = [create_with(spare, new_id()) for spare in range(ENOUGH_DESCRIPTORS)]
    assert (worked[0], worked[-1]) == (False, True)
    assert not [name for name in our_threads() if name.endswith(("-stdout", "-stderr"))]


def test_a_restore_without_descriptors_leaves_the_plugin_as_it_is(
    new_executor: NewExecutor, id: str, shell: Shell, client: Client, exits: Exits
) -> None:
    before = new_executor()
    before.create(id, shell(id, WAITS), Buffer(), Buffer())
    before.close()
    pid = client.tasks()[id].pid

    def restore_with(spare: int) -> bool:
        executor, output = new_executor(), Buffer()
        with few_descriptors(spare):
            error = error_of(lambda: executor.restore(id, output, output))
        if error:
            assert type(error) is Unavailable
            assert output.closings == 0
            assert executor.restore(id, output, output)
        assert executor.is_running(id)
        assert client.tasks()[id].pid == pid
        executor.close()
        return not error

    worked = [restore_with(spare) for spare in range(ENOUGH_DESCRIPTORS)]
    assert (worked[0], worked[-1]) == (False, True)
    executor = new_executor()
    assert executor.restore(id)
    assert executor.stop(id).exit_code == 3
    assert len(exits.wait_for(1)) == 1


def test_an_executor_without_descriptors_says_so_and_lets_go_of_its_root(new_executor: NewExecutor) -> None:
    errors = []
    for spare in range(ENOUGH_DESCRIPTORS):
        with few_descriptors(spare):
            errors.append(error_of(lambda: new_executor().close()))
        new_executor().close()
    assert {type(error) for error in errors} == {Unavailable, type(None)}


def test_exits_without_descriptors_are_told_once_and_cleaned_up_when_there_are_some(
    executor: Executor,
    new_id: NewId,
    shell: Shell,
    client: Client,
    exits: Exits,
    dice: random.Random,
    rounds: range,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "pluginexec.streams.streams.DRAIN_IDLE", 1.0
    )  # the shim holds the pipes while it cannot be asked

    def end_without(spare: int, cut: bool, pause: float) -> None:
        ids = [new_id() for _ in range(3)]
        outputs = {id: Buffer() for id in ids}
        for id in ids:
            executor.create(id, shell(id, WAITS), outputs[id])
        wait_until(lambda: all(output.data for output in outputs.values()), "that all are up")
        pids = [executor._table.get(id).pid for id in ids]
        streams = event_processes() if cut else []
        with few_descriptors(spare):
            for pid in [*streams, *pids]:
                os.kill(pid, signal.SIGKILL if pid in streams else signal.SIGTERM)
            time.sleep(pause)
        wait_until(lambda: set(ids) <= set(exits.ids), "the exits")
        wait_until(lambda: all(is_gone(client, executor, id) for id in ids), "that nothing is left")
        for output in outputs.values():
            assert (output.data, output.closings) == (b"up\nend\n", 1)

    for _ in rounds:
        end_without(dice.randrange(8), dice.random() < 0.5, dice.uniform(0, 2))
    told = exits.wait_for(0)
    assert [status.exit_code for _, status in told] == [3] * (3 * len(rounds))


def event_processes() -> list[int]:
    """Return the pids of the ``ctr events`` that we run."""
    found = []
    for child in live_children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "events" in child.cmdline():
                found.append(child.pid)
    return found
