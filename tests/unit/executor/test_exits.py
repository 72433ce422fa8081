"""What is done when a plugin has ended. Real: the root directory, threads. containerd, streams and the kernel are fakes
that keep a journal, so that the order of the steps shows.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pytest

from pluginexec.containerd.client import Client
from pluginexec.errors import NotFound, PluginExecError, Unavailable
from pluginexec.executor import exits as exits_module
from pluginexec.executor.deferred_cleanup import DeferredCleanup
from pluginexec.executor.exits import DELETIONS_AT_ONCE, ExitHandler, ExitProcessor
from pluginexec.executor.lifecycle import Lifecycle
from pluginexec.executor.plugins import End, SupervisedPlugin
from pluginexec.linux.cgroups import CgroupPath
from pluginexec.linux.pidfd import InitProcess
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.root.root import Root
from pluginexec.streams.streams import Streams
from pluginexec.types import EventInfo, ExitStatus, Task, TaskState
from tests.support.harness import PATIENCE, wait_until

PID = 4711
AT = datetime(2026, 11, 23, 13, 29, 4, tzinfo=timezone.utc)
EVENT = EventInfo("x", "x", PID, 42, AT)
STOPPED = Task("x", PID, TaskState.STOPPED)


class Fakes:
    """Client, lifecycle, streams and handler in one: all write to one journal; what ``raises`` names, fails."""

    bytes_read = 0

    def __init__(self, files: PluginFiles) -> None:
        self.files = files
        self.journal: list[str] = []
        self.raises: dict[str, BaseException] = {}
        self.statuses: list[ExitStatus] = []
        self.task_code = 3
        self.is_deleted = True
        self.has_end = True
        self.later: list[Callable[[str], None]] = []

    def note(self, what: str) -> None:
        """Write to the journal, and how the exit record stands; and fail, if told to."""
        recorded = " with a record" if self.files.read_exit() else ""
        self.journal.append(what + recorded)
        if what in self.raises:
            raise self.raises[what]

    def delete_task(self, id: str, *, force: bool = False) -> int:
        self.note(f"{'force ' if force else ''}delete task")
        return self.task_code

    def delete_ended(self, id: str) -> bool:
        self.note("delete")
        return self.is_deleted

    def keep(self, id: str, again: Callable[[str], None]) -> None:
        self.later.append(again)

    def cgroup_of_ended(self, id: str) -> CgroupPath:
        return ""

    def remove_half_made(self, id: str) -> None:
        self.note("remove half made")

    def start(self) -> None:
        self.note("start streams")

    def abandon(self) -> None:
        self.note("abandon streams")

    def drain(self) -> bool:
        self.note("drain")
        return self.has_end

    def remove(self, plugin: SupervisedPlugin) -> None:
        self.note(f"remove {'cleaned' if not self.files.exist() else 'uncleaned'}")

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        self.statuses.append(status)
        self.note(f"handle {id}")


def new_exits(fakes: Fakes, handler: ExitHandler | None) -> ExitProcessor:
    """Make an exit processor on those fakes."""
    return ExitProcessor(
        cast(Client, fakes), cast(Lifecycle, fakes), cast(DeferredCleanup, fakes), fakes.remove, handler
    )


@pytest.fixture
def root(root_dir: Path) -> Iterator[Root]:
    """A locked root directory."""
    root = Root(root_dir)
    yield root
    root.close()


@pytest.fixture
def fakes(root: Root) -> Fakes:
    """The fakes, for a plugin whose files are made."""
    files = root.plugin("x")
    files.make({})
    return Fakes(files)


@pytest.fixture
def exits(fakes: Fakes) -> ExitProcessor:
    """The exit processor on those fakes."""
    return new_exits(fakes, fakes)


@pytest.fixture
def plugin(fakes: Fakes) -> SupervisedPlugin:
    """A plugin on those fakes."""
    return SupervisedPlugin("x", fakes.files, pid=PID, streams=cast(Streams, fakes))


class KernelTells(InitProcess):
    """An init process whose exit code the kernel tells."""

    def __init__(self, code: int | None) -> None:
        super().__init__(PID, -1)
        self._code = code

    def exit_code(self) -> int | None:
        return self._code


def finish(exits: ExitProcessor, plugin: SupervisedPlugin, event: EventInfo | None, task: Task | None = None) -> None:
    """Have an end dealt with, and wait until it is."""
    exits.start(plugin, event, task)
    exits.join(PATIENCE)


def test_an_end_is_recorded_then_deleted_then_drained_then_forgotten_then_told(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes
) -> None:
    finish(exits, plugin, EVENT)
    steps = ["delete", "drain", "remove cleaned", "handle x"]
    assert fakes.journal == [f"{step} with a record" for step in steps]
    assert fakes.statuses == [ExitStatus(42, AT, PID)]
    assert plugin.status == fakes.files.read_exit() == fakes.statuses[0]


def test_an_end_needs_no_handler_and_no_streams(plugin: SupervisedPlugin, fakes: Fakes) -> None:
    plugin.streams = None
    finish(new_exits(fakes, None), plugin, EVENT)
    assert fakes.journal == ["delete with a record", "remove cleaned with a record"]
    assert plugin.status


@pytest.mark.parametrize("step", ["delete", "drain", "handle x"])
def test_a_step_that_fails_is_logged_and_stops_neither_the_removal_nor_the_handler(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    fakes.raises[step] = ZeroDivisionError("odd")
    finish(exits, plugin, EVENT)
    assert [entry.split()[0] for entry in fakes.journal][-2:] == ["remove", "handle"]
    assert fakes.statuses == [ExitStatus(42, AT, PID)]
    (logged,) = caplog.records
    assert logged.levelno == logging.ERROR
    assert "odd" in str(logged.exc_info)
    assert "x" in logged.getMessage()


def test_a_record_that_cannot_be_written_is_logged_and_stops_nothing(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_exit(_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(fakes.files, "write_exit", write_exit)
        finish(exits, plugin, EVENT)
    assert fakes.journal == ["delete", "drain", "remove cleaned", "handle x"]
    assert ["no space left" in record.getMessage() for record in caplog.records] == [True]
    (again,) = fakes.later
    again("x")
    assert fakes.files.read_exit() == fakes.statuses[0]
    assert len(fakes.later) == 1


def test_files_that_cannot_be_removed_are_removed_later(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fakes.files, "remove", lambda keep_exit: None)
        finish(exits, plugin, EVENT)
    assert fakes.journal[-2:] == ["remove uncleaned with a record", "handle x with a record"]
    (again,) = fakes.later
    again("x")
    assert not fakes.files.exist()
    assert len(fakes.later) == 1


@pytest.mark.parametrize(
    ("has_end", "is_deleted", "timeout", "ended"),
    [
        pytest.param(True, True, 12.0, 0, id="all went well"),
        pytest.param(False, True, 12.0, 1, id="a stream was given up"),
        pytest.param(True, True, 0.0, 1, id="the shim waited too long"),
        pytest.param(False, False, 0.0, 0, id="the task is not deleted, so its shim may yet signal its logger"),
    ],
)
def test_loggers_are_ended_where_they_blocked(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    has_end: bool,
    is_deleted: bool,
    timeout: float,
    ended: int,
) -> None:
    calls: list[PluginFiles] = []
    monkeypatch.setattr("pluginexec.executor.exits.end_loggers", calls.append)
    monkeypatch.setattr("pluginexec.executor.exits.LOGGER_TIMEOUT", timeout)
    fakes.has_end, fakes.is_deleted = has_end, is_deleted
    finish(exits, plugin, EVENT)
    assert calls == [fakes.files] * ended


def test_without_an_event_the_exit_code_is_the_kernels_and_the_time_is_now(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes
) -> None:
    plugin.init = KernelTells(7)
    before = datetime.now(timezone.utc)
    finish(exits, plugin, None, STOPPED)
    (status,) = fakes.statuses
    assert status.exit_code == 7
    assert before <= status.exited_at <= datetime.now(timezone.utc)
    assert not any(entry.startswith("delete task") for entry in fakes.journal)


@pytest.mark.parametrize("init", [None, KernelTells(None)], ids=["not held", "kernel cannot tell"])
@pytest.mark.parametrize(
    ("task", "code"),
    [
        pytest.param(STOPPED, 3, id="stopped"),
        pytest.param(Task("x", PID + 1, TaskState.STOPPED), None, id="of another life"),
        pytest.param(Task("x", PID, TaskState.RUNNING), None, id="still running, it says"),
        pytest.param(Task("x", 0, TaskState.UNKNOWN), None, id="no answer"),
        pytest.param(None, None, id="forgotten"),
    ],
)
def test_the_code_that_the_kernel_does_not_know_is_that_of_the_stopped_task(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    init: InitProcess | None,
    task: Task | None,
    code: int | None,
) -> None:
    plugin.init = init
    finish(exits, plugin, None, task)
    assert [status.exit_code for status in fakes.statuses] == [code]
    assert fakes.journal.count("delete task with a record") == (code is not None)


def test_a_containerd_that_stops_while_it_is_asked_for_an_exit_code_is_asked_again_when_it_is_back(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exits_module, "CODE_TIMEOUT", PATIENCE)
    fakes.raises["delete task"] = Unavailable("away")
    exits.start(plugin, None, STOPPED)
    wait_until(lambda: fakes.journal.count("delete task with a record") == 2, "the second question")
    del fakes.raises["delete task"]
    exits.join(PATIENCE)
    assert [status.exit_code for status in fakes.statuses] == [3]
    assert not caplog.records


@pytest.mark.parametrize("error", [NotFound("gone"), Unavailable("away")], ids=["gone", "away"])
def test_an_exit_code_that_cannot_be_had_is_none_and_logged(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: PluginExecError,
) -> None:
    monkeypatch.setattr(exits_module, "CODE_TIMEOUT", 0.0)
    fakes.raises["delete task"] = error
    finish(exits, plugin, None, STOPPED)
    assert [status.exit_code for status in fakes.statuses] == [None]
    assert fakes.journal[-4:] == [f"{s} with a record" for s in ("delete", "drain", "remove cleaned", "handle x")]
    assert ["x: its exit code is unknown" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("counted", "event", "expected"),
    [(None, False, False), (None, True, True), (False, True, False), (True, False, True)],
    ids=["nobody knows", "only the event", "the counter denies it", "only the counter"],
)
def test_the_cgroups_counter_outdoes_the_oom_event(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    counted: bool | None,
    event: bool,
    expected: bool,
) -> None:
    def oom_killed(path: str) -> bool | None:
        assert not fakes.journal, "read after the deletion, when the cgroup is gone"
        assert path == "/pluginexec/x"
        return counted

    monkeypatch.setattr(exits_module, "oom_killed", oom_killed)
    plugin.cgroups_path, plugin.oom_event = "/pluginexec/x", event
    finish(exits, plugin, EVENT)
    assert [status.oom_killed for status in fakes.statuses] == [expected]


@pytest.mark.parametrize("found_by", ["reconciliation", "restore"])
def test_the_cgroup_is_asked_before_the_task_is_deleted_for_its_code(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, found_by: str
) -> None:
    monkeypatch.setattr(
        exits_module, "oom_killed", lambda path: None if "delete task with a record" in fakes.journal else True
    )
    if found_by == "restore":
        exits.process_unsupervised(plugin, STOPPED)
    else:
        finish(exits, plugin, None, STOPPED)
    status = fakes.files.read_exit()
    assert status
    assert (status.exit_code, status.oom_killed) == (3, True)


def write_logged_exit(files: PluginFiles, code: int | None, *, late: bool = False, pid: int = PID) -> None:
    """Write what the logger of a plugin records of its end."""
    record = {"exit_code": code, "exited_at": AT.isoformat(), "pid": pid, "oom_killed": True}
    (files.directory / "ended.json").write_text(json.dumps(record | {"exited_at_is_upper_bound": late}))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("task", [None, STOPPED], ids=["forgotten", "stopped"])
def test_of_an_end_that_its_logger_recorded_containerd_is_not_asked(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, task: Task | None, late: bool
) -> None:
    write_logged_exit(fakes.files, 7, late=late)
    fakes.files.pid.write_text(str(PID))
    exits.process_unsupervised(plugin, task)
    assert fakes.files.read_exit() == ExitStatus(7, AT, PID, oom_killed=True, exited_at_is_upper_bound=late)
    assert not any(entry.startswith("delete task") for entry in fakes.journal)


def test_a_logger_that_knows_no_code_still_knows_the_time(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes
) -> None:
    write_logged_exit(fakes.files, None)
    exits.process_unsupervised(plugin, STOPPED)
    assert fakes.files.read_exit() == ExitStatus(3, AT, PID, oom_killed=True)


def test_a_logger_that_writes_while_the_task_is_deleted_is_heard(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete_task(id: str) -> int:
        write_logged_exit(fakes.files, 7)
        return 3

    monkeypatch.setattr(fakes, "delete_task", delete_task)
    monkeypatch.setattr(exits_module, "oom_killed", lambda path: False)
    exits.process_unsupervised(plugin, STOPPED)
    assert fakes.files.read_exit() == ExitStatus(3, AT, PID)


def test_what_is_known_before_the_task_is_deleted_for_its_code_survives_a_crash_behind_that(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits_module, "oom_killed", lambda path: None if fakes.journal[1:] else True)
    fakes.raises["delete task"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        exits.process_unsupervised(plugin, STOPPED)
    before = fakes.files.read_exit()
    assert before
    fakes.files.pid.write_text(str(PID))
    exits.process_unsupervised(plugin, None)
    assert fakes.files.read_exit() == before == replace(before, exit_code=None, oom_killed=True)


def test_a_record_without_a_code_is_completed_while_the_task_is_there(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes
) -> None:
    fakes.files.write_exit(ExitStatus(None, AT, PID, exited_at_is_upper_bound=True))
    exits.process_unsupervised(plugin, STOPPED)
    assert fakes.files.read_exit() == ExitStatus(3, AT, PID, exited_at_is_upper_bound=True)


def test_the_record_of_another_process_counts_for_nothing(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes
) -> None:
    write_logged_exit(fakes.files, 7, pid=PID + 1)
    exits.process_unsupervised(plugin, STOPPED)
    status = fakes.files.read_exit()
    assert status
    assert (status.exit_code, status.oom_killed, status.exited_at_is_upper_bound) == (3, False, True)


@pytest.mark.parametrize("late", [False, True])
def test_without_an_event_the_time_is_that_of_the_kernels_report(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, late: bool
) -> None:
    plugin.end = End(AT, late, oom_killed=True)
    finish(exits, plugin, None)
    assert fakes.statuses == [ExitStatus(None, AT, PID, oom_killed=True, exited_at_is_upper_bound=late)]


def test_an_exact_time_is_better_than_an_earlier_upper_bound(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes
) -> None:
    write_logged_exit(fakes.files, None, late=True)
    exact = AT + timedelta(seconds=1)
    plugin.end = End(exact, late=False, oom_killed=None)
    finish(exits, plugin, None)
    assert fakes.statuses == [ExitStatus(None, exact, PID, oom_killed=True)]


@pytest.fixture
def many(root: Root, fakes: Fakes) -> list[SupervisedPlugin]:
    """More plugins than may be deleted at a time."""
    return [
        SupervisedPlugin(f"x{number}", root.plugin(f"x{number}"), pid=PID) for number in range(3 * DELETIONS_AT_ONCE)
    ]


def test_only_so_many_are_deleted_at_a_time(
    exits: ExitProcessor, fakes: Fakes, many: list[SupervisedPlugin], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[str] = []
    go_on = threading.Event()

    def delete_ended(id: str) -> bool:
        inside.append(id)
        go_on.wait(PATIENCE)
        return True

    monkeypatch.setattr("pluginexec.executor.exits.DELETE_SLOT_TIMEOUT", 2 * PATIENCE)
    monkeypatch.setattr(fakes, "delete_ended", delete_ended)
    for plugin in many:
        exits.start(plugin, EVENT)
    wait_until(lambda: all(plugin.files.read_exit() for plugin in many), "the step before the deletion")
    wait_until(lambda: len(inside) == DELETIONS_AT_ONCE, "as many deletions as may be")
    go_on.set()
    exits.join(PATIENCE)
    assert len(fakes.statuses) == len(inside) == len(many)


def test_deletions_that_take_long_delay_no_other(
    exits: ExitProcessor, fakes: Fakes, many: list[SupervisedPlugin], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(len(many))

    def delete_ended(id: str) -> bool:
        together.wait(PATIENCE)
        return True

    monkeypatch.setattr("pluginexec.executor.exits.DELETE_SLOT_TIMEOUT", 0.05)
    monkeypatch.setattr(fakes, "delete_ended", delete_ended)
    for plugin in many:
        exits.start(plugin, EVENT)
    exits.join(PATIENCE)
    assert not together.broken
    assert len(fakes.statuses) == len(many)


def test_a_handler_that_takes_its_time_delays_no_other(
    exits: ExitProcessor, fakes: Fakes, many: list[SupervisedPlugin], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(len(many))
    monkeypatch.setattr(fakes, "handle_exit_event", lambda id, status: together.wait(PATIENCE))
    for plugin in many:
        exits.start(plugin, EVENT)
    exits.join(PATIENCE)
    assert not together.broken


def test_joining_does_not_wait_without_end(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(fakes, "handle_exit_event", lambda id, status: go_on.wait(PATIENCE))
    exits.start(plugin, EVENT)
    exits.join(0.05)
    assert ["gave up waiting for thread pluginexec-x-exit" in record.getMessage() for record in caplog.records] == [
        True
    ]
    go_on.set()
    exits.join(PATIENCE)


def test_a_handler_that_joins_does_not_wait_for_itself(
    exits: ExitProcessor,
    plugin: SupervisedPlugin,
    fakes: Fakes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined = threading.Event()

    def handle(*_: object) -> None:
        exits.join(PATIENCE)
        joined.set()

    monkeypatch.setattr(fakes, "handle_exit_event", handle)
    finish(exits, plugin, EVENT)
    assert joined.is_set()
    assert not caplog.records


def test_where_no_thread_can_be_had_the_caller_learns_it_and_can_try_again(
    exits: ExitProcessor, plugin: SupervisedPlugin, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            exits.start(plugin, EVENT)
    exits.join(PATIENCE)
    assert fakes.journal == []
    finish(exits, plugin, EVENT)
    assert len(fakes.statuses) == 1


def test_a_worker_that_is_done_is_not_kept(exits: ExitProcessor, plugin: SupervisedPlugin) -> None:
    finish(exits, plugin, EVENT)
    wait_until(lambda: not exits._workers, "the forgetting of the worker")


ProcessUnsupervised = Callable[["Task | None"], None]


@pytest.fixture
def process_unsupervised(exits: ExitProcessor, fakes: Fakes) -> ProcessUnsupervised:
    """Deal with a plugin that ended while nobody supervised it: its pid is not known yet."""
    return lambda task: exits.process_unsupervised(
        SupervisedPlugin("x", fakes.files, streams=cast(Streams, fakes)), task
    )


def test_a_stopped_one_is_recorded_deleted_and_drained_and_no_handler_is_called(
    process_unsupervised: ProcessUnsupervised, fakes: Fakes
) -> None:
    process_unsupervised(STOPPED)
    assert fakes.journal == [
        "start streams",
        "delete task with a record",
        "delete with a record",
        "drain with a record",
    ]
    record = fakes.files.read_exit()
    assert record
    assert (record.exit_code, record.pid) == (3, PID)
    assert not fakes.files.exist()


def test_one_that_containerd_has_forgotten_has_an_unknown_exit_code(
    process_unsupervised: ProcessUnsupervised, fakes: Fakes
) -> None:
    fakes.files.pid.write_text(str(PID))
    process_unsupervised(None)
    assert fakes.journal == ["start streams", "delete with a record", "drain with a record"]
    record = fakes.files.read_exit()
    assert record
    assert (record.exit_code, record.pid) == (None, PID)


@pytest.mark.parametrize(
    ("pid", "code"), [pytest.param(PID, 99, id="of this life"), pytest.param(PID - 1, 3, id="of an earlier life")]
)
def test_a_record_from_before_the_crash_is_kept_if_it_is_of_this_life(
    process_unsupervised: ProcessUnsupervised, fakes: Fakes, pid: int, code: int
) -> None:
    fakes.files.write_exit(ExitStatus(99, AT, pid))
    process_unsupervised(STOPPED)
    record = fakes.files.read_exit()
    assert record
    assert (record.exit_code, record.pid) == (code, PID)


@pytest.mark.parametrize("task", [Task("x", PID, TaskState.CREATED), None], ids=["half made", "not made"])
def test_one_that_never_started_is_removed_and_leaves_no_record(
    process_unsupervised: ProcessUnsupervised, fakes: Fakes, task: Task | None
) -> None:
    process_unsupervised(task)
    assert fakes.journal == ["abandon streams", "remove half made", "delete", "drain"]
    assert not fakes.files.exist()
    assert fakes.files.read_exit() is None


def test_one_whose_exit_code_cannot_be_asked_now_is_left_for_later(
    process_unsupervised: ProcessUnsupervised, fakes: Fakes
) -> None:
    fakes.raises["delete task"] = Unavailable("containerd is down")
    with pytest.raises(Unavailable):
        process_unsupervised(STOPPED)
    assert fakes.journal == ["start streams", "delete task with a record"]
    assert fakes.files.exist()


def test_one_that_is_not_ours_is_recorded_too_if_it_is_there(
    process_unsupervised: ProcessUnsupervised, fakes: Fakes
) -> None:
    fakes.files.remove()
    process_unsupervised(STOPPED)
    assert fakes.journal == [
        "start streams",
        "delete task with a record",
        "delete with a record",
        "drain with a record",
    ]
    record = fakes.files.read_exit()
    assert record
    assert (record.exit_code, record.pid) == (3, PID)


def test_one_that_is_not_there_at_all_leaves_no_record(process_unsupervised: ProcessUnsupervised, fakes: Fakes) -> None:
    fakes.files.remove()
    process_unsupervised(None)
    assert fakes.journal == ["start streams", "delete", "drain"]
    assert fakes.files.read_exit() is None
