"""The table of plugins. Real: the root directory, threads, and child processes as init processes. No containerd."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from pluginexec.executor import plugins as table_module
from pluginexec.executor.plugins import PluginTable, State, SupervisedPlugin
from pluginexec.linux.pidfd import InitProcess
from pluginexec.root.root import Root
from pluginexec.types import EventInfo, ExitStatus
from tests.support.harness import PATIENCE, wait_until

PID = 4711


@pytest.fixture
def root(root_dir: Path) -> Iterator[Root]:
    """A locked root directory."""
    root = Root(root_dir)
    yield root
    root.close()


@pytest.fixture
def table(root: Root) -> PluginTable:
    """An empty table."""
    return PluginTable(root, exit_timeout=3 * PATIENCE)  # longer than any test waits: it must not be what ends a wait


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A child process that runs until it is killed."""
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


@pytest.fixture
def alive(table: PluginTable, child: subprocess.Popen[bytes]) -> Iterator[SupervisedPlugin]:
    """A plugin "x" that runs."""
    plugin = table.reserve("x")
    plugin.pid, plugin.init = child.pid, InitProcess.open(child.pid)
    assert table.started(plugin) is None
    yield plugin
    if plugin.init:
        plugin.init.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that block."""
    with ThreadPoolExecutor(64) as pool:
        yield pool


def end(plugin: SupervisedPlugin, child: subprocess.Popen[bytes]) -> None:
    """End the process of a plugin."""
    child.kill()
    child.wait()
    assert plugin.has_ended()


def exit_of(plugin: SupervisedPlugin, **changes: object) -> EventInfo:
    """The event of a plugin's exit, with changes."""
    fields: dict[str, object] = {"container_id": plugin.id, "process_id": plugin.id, "pid": plugin.pid} | changes
    return EventInfo(**fields)  # type: ignore[arg-type]


def test_an_id_is_unknown_until_it_is_reserved_and_after_it_is_removed(table: PluginTable) -> None:
    for _ in range(2):
        assert "x" not in table
        with pytest.raises(NotFound) as caught:
            table.get("x")
        assert caught.value.id == "x"
        plugin = table.reserve("x")
        assert table.get("x") is plugin
        assert "x" in table
        table.remove(plugin)


@pytest.mark.parametrize("id", ["", "../x", "x" * 77])
def test_a_bad_id_is_said_to_be_bad_not_unknown(table: PluginTable, id: str) -> None:
    with pytest.raises(InvalidArgument):
        table.get(id)
    with pytest.raises(InvalidArgument):
        table.reserve(id)


def test_what_is_no_text_is_said_to_be_a_bad_id(table: PluginTable) -> None:
    not_hashable: Any = ["x"]
    with pytest.raises(InvalidArgument):
        table.get(not_hashable)


def test_an_id_that_starts_is_taken(table: PluginTable) -> None:
    table.reserve("x")
    with pytest.raises(AlreadyExists, match="is being created or restored"):
        table.reserve("x")
    table.reserve("y")


def test_an_id_that_runs_is_taken(table: PluginTable, alive: SupervisedPlugin) -> None:
    with pytest.raises(AlreadyExists, match=rf"is running \(pid {alive.pid}\)"):
        table.reserve("x")


def test_one_of_many_that_reserve_an_id_at_once_gets_it(table: PluginTable, pool: ThreadPoolExecutor) -> None:
    together = threading.Barrier(50)

    def reserve() -> SupervisedPlugin | None:
        together.wait(PATIENCE)
        try:
            return table.reserve("x")
        except AlreadyExists:
            return None

    plugins = [future.result() for future in [pool.submit(reserve) for _ in range(50)]]
    assert [plugin for plugin in plugins if plugin] == [table.get("x")]


def waiting(future: Future[SupervisedPlugin], plugin: SupervisedPlugin) -> bool:
    """Whether a ``reserve`` waits for the last run of its plugin."""
    return future.running() and len(plugin.done._cond._waiters) == 1  # type: ignore[attr-defined]


def test_a_plugin_that_ends_is_waited_for(
    table: PluginTable, alive: SupervisedPlugin, pool: ThreadPoolExecutor
) -> None:
    assert table.claim_exit(alive)
    future = pool.submit(table.reserve, "x")
    wait_until(lambda: waiting(future, alive), "the waiting")
    table.remove(alive)
    assert future.result(PATIENCE) is table.get("x")
    assert table.get("x") is not alive


def test_a_plugin_whose_process_has_ended_is_waited_for_before_it_was_reported(
    table: PluginTable, alive: SupervisedPlugin, child: subprocess.Popen[bytes], pool: ThreadPoolExecutor
) -> None:
    end(alive, child)
    future = pool.submit(table.reserve, "x")
    wait_until(lambda: waiting(future, alive), "the waiting")
    assert table.claim_exit(alive)
    table.remove(alive)
    assert future.result(PATIENCE) is table.get("x")


def test_a_plugin_that_does_not_come_to_its_end_is_not_waited_for_without_end(root: Root) -> None:
    table = PluginTable(root, exit_timeout=0.05)
    plugin = table.reserve("x")
    table.started(plugin)  # it has no process
    with pytest.raises(DeadlineExceeded, match="not cleaned up within"):
        table.reserve("x")


def test_removing_wakes_all_who_wait(table: PluginTable, pool: ThreadPoolExecutor) -> None:
    plugin = table.reserve("x")
    futures = [pool.submit(plugin.done.wait, PATIENCE) for _ in range(20)]
    table.remove(plugin)
    assert all(future.result() for future in futures)


def test_removing_a_plugin_leaves_the_next_one_of_its_id_alone(table: PluginTable) -> None:
    first = table.reserve("x")
    table.remove(first)
    second = table.reserve("x")
    table.remove(first)
    assert table.get("x") is second


def test_removing_closes_the_pidfd(table: PluginTable, alive: SupervisedPlugin) -> None:
    assert alive.init
    table.remove(alive)
    assert alive.init.pidfd == -1


def test_an_exit_event_ends_the_plugin_that_it_names(table: PluginTable, alive: SupervisedPlugin) -> None:
    assert table.is_alive(alive)
    assert table.match_exit(exit_of(alive)) is alive
    assert not table.is_alive(alive)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"process_id": "some-exec"}, id="of an exec"),
        pytest.param({"process_id": ""}, id="of no process"),
        pytest.param({"pid": 1}, id="of an earlier run"),
        pytest.param({"pid": 0}, id="of no pid"),
        pytest.param({"container_id": "other", "process_id": "other"}, id="of another container"),
        pytest.param({"container_id": "other"}, id="of an exec of the same name in another container"),
        pytest.param({"container_id": "../x", "process_id": "../x"}, id="of an id that cannot be"),
    ],
)
def test_any_other_exit_event_ends_nothing(
    table: PluginTable, alive: SupervisedPlugin, changes: dict[str, object]
) -> None:
    assert table.match_exit(exit_of(alive, **changes)) is None
    assert table.is_alive(alive)


def test_a_second_exit_event_ends_nothing(table: PluginTable, alive: SupervisedPlugin) -> None:
    table.match_exit(exit_of(alive))
    assert table.match_exit(exit_of(alive)) is None
    assert not table.claim_exit(alive)
    table.remove(alive)
    assert table.match_exit(exit_of(alive)) is None
    assert not table.claim_exit(alive)


def test_an_exit_event_of_the_last_run_does_not_end_the_next(table: PluginTable, alive: SupervisedPlugin) -> None:
    table.match_exit(exit_of(alive))
    table.remove(alive)
    following = table.reserve("x")
    assert table.match_exit(exit_of(alive)) is None
    following.pid = alive.pid + 1
    assert table.started(following) is None


def test_an_exit_that_comes_before_the_start_is_known_is_held_back(table: PluginTable) -> None:
    plugin = table.reserve("x")
    others = [exit_of(plugin, pid=PID - 1), exit_of(plugin, process_id="exec", pid=PID), exit_of(plugin, pid=0)]
    first, second = exit_of(plugin, pid=PID, exit_code=3), exit_of(plugin, pid=PID, exit_code=4)
    for event in (*others, first, second):
        assert table.match_exit(event) is None
    plugin.pid = PID
    assert table.started(plugin) is first
    assert plugin.state is State.EXITING
    assert table.match_exit(second) is None
    assert not table.claim_exit(plugin)


def test_an_exit_held_back_that_is_of_another_pid_ends_nothing(table: PluginTable) -> None:
    plugin = table.reserve("x")
    table.match_exit(exit_of(plugin, pid=PID - 1))
    plugin.pid = PID
    assert table.started(plugin) is None
    assert plugin.state is State.RUNNING


def test_exactly_one_of_many_reports_of_one_exit_counts(table: PluginTable, pool: ThreadPoolExecutor) -> None:
    for round in range(20):
        plugin = table.reserve("x")
        plugin.pid = PID + round
        together = threading.Barrier(51)

        def report(number: int, plugin: SupervisedPlugin = plugin, together: threading.Barrier = together) -> bool:
            together.wait(PATIENCE)
            if number == 0:
                return table.started(plugin) is not None
            return table.claim_exit(plugin) if number % 2 else table.match_exit(exit_of(plugin)) is plugin

        futures = [pool.submit(report, number) for number in range(51)]
        counted = sum(future.result() for future in futures)
        counted += table.claim_exit(plugin)  # where all of them came before it had started
        assert counted == 1
        table.remove(plugin)


def test_a_claim_that_is_undone_can_be_made_again(table: PluginTable, alive: SupervisedPlugin) -> None:
    assert table.claim_exit(alive)
    table.unclaim_exit(alive)
    assert table.claim_exit(alive)


def test_a_plugin_that_starts_is_neither_alive_nor_exited(table: PluginTable) -> None:
    plugin = table.reserve("x")
    assert not table.is_alive(plugin)
    assert table.exited() == []
    assert not table.claim_exit(plugin)


def test_a_plugin_whose_process_has_ended_is_listed_as_exited_until_that_is_claimed(
    table: PluginTable, alive: SupervisedPlugin, child: subprocess.Popen[bytes]
) -> None:
    assert table.exited() == []
    end(alive, child)
    assert not table.is_alive(alive)
    assert table.exited() == [alive]
    table.claim_exit(alive)
    assert table.exited() == []


def test_a_plugin_whose_process_could_not_be_held_is_listed_as_exited(table: PluginTable) -> None:
    plugin = table.reserve("x")
    table.started(plugin)
    assert table.exited() == [plugin]


def test_memory_kills_are_noted_of_a_plugin_that_is_there(table: PluginTable) -> None:
    plugin = table.reserve("x")
    table.record_oom("y")
    assert not plugin.oom_event
    table.record_oom("x")
    assert plugin.oom_event


def test_an_id_reserved_for_cleanup_is_waited_for_and_then_free(table: PluginTable, pool: ThreadPoolExecutor) -> None:
    with table.reserve_for_cleanup("x") as is_free:
        assert is_free
        reserved = table._reserved_for_cleanup["x"]
        assert "x" not in table  # its last exit status can be asked for
        future = pool.submit(table.reserve, "x")
        wait_until(lambda: waiting(future, reserved), "the waiting")
        assert table.match_exit(exit_of(reserved)) is None
        assert table.exited() == []
    assert future.result(PATIENCE) is table.get("x")


def test_an_id_reserved_for_cleanup_is_free_again_after_an_error(table: PluginTable) -> None:
    with pytest.raises(ZeroDivisionError), table.reserve_for_cleanup("x"):
        raise ZeroDivisionError
    assert "x" not in table


def test_an_id_in_use_cannot_be_reserved_for_cleanup(table: PluginTable) -> None:
    plugin = table.reserve("x")
    with table.reserve_for_cleanup("x") as is_free:
        assert not is_free
    assert table.get("x") is plugin


def test_a_closed_table_reserves_nothing(table: PluginTable) -> None:
    assert table.close() == []
    assert table.closed
    with pytest.raises(FailedPrecondition, match="closed"):
        table.reserve("x")
    with table.reserve_for_cleanup("x") as is_free:
        assert not is_free


def test_who_waits_for_an_id_when_the_table_is_closed_is_refused(
    table: PluginTable, alive: SupervisedPlugin, pool: ThreadPoolExecutor
) -> None:
    table.claim_exit(alive)
    future = pool.submit(table.reserve, "x")
    wait_until(lambda: waiting(future, alive), "the waiting")
    table.close()
    table.remove(alive)
    with pytest.raises(FailedPrecondition, match="closed"):
        future.result(PATIENCE)


@pytest.mark.parametrize("succeeds", [True, False], ids=["starts", "fails"])
def test_closing_waits_for_what_starts(
    table: PluginTable, alive: SupervisedPlugin, pool: ThreadPoolExecutor, succeeds: bool
) -> None:
    plugin = table.reserve("y")
    future = pool.submit(table.close)
    wait_until(lambda: table.closed, "the closing")
    assert not future.done()
    if succeeds:
        table.started(plugin)
    else:
        table.remove(plugin)
    assert future.result(PATIENCE) == ([alive, plugin] if succeeds else [alive])


def test_closing_does_not_wait_without_end_for_what_starts(root: Root) -> None:
    table = PluginTable(root, exit_timeout=0.05)
    table.reserve("x")
    assert table.close() == []


def test_closing_does_not_return_what_ends_already(table: PluginTable, alive: SupervisedPlugin) -> None:
    table.claim_exit(alive)
    assert table.close() == []


@pytest.fixture
def old_exit(root: Root, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make exit records that are too old to be kept."""
    monkeypatch.setattr("pluginexec.root.root.EXITS_KEPT", 1)
    monkeypatch.setattr(table_module, "_EXITS_BETWEEN_CLEANUPS", 2)

    def make(id: str, mtime: int = 1) -> None:
        files = root.plugin(id)
        files.write_exit(ExitStatus(0, datetime.now(timezone.utc), PID))
        os.utime(files.directory / "exit.json", (mtime, mtime))

    return make


OldExit = Callable[..., None]


def kept(root: Root) -> set[str]:
    """The ids that have a directory."""
    return set(os.listdir(root.path / "containers"))


def test_old_exit_records_go_when_the_table_is_made(root: Root, old_exit: OldExit) -> None:
    for mtime, id in enumerate(["a", "b", "new"]):
        old_exit(id, mtime)
    PluginTable(root, PATIENCE)
    assert kept(root) == {"new"}


def test_old_exit_records_go_from_time_to_time(root: Root, table: PluginTable, old_exit: OldExit) -> None:
    for mtime, id in enumerate(["a", "b", "new"]):
        old_exit(id, mtime)
    table.remove(table.reserve("x"))
    assert kept(root) == {"a", "b", "new"}
    table.remove(table.reserve("x"))
    assert kept(root) == {"new"}


def test_the_directory_of_an_id_in_use_is_not_taken_for_an_old_record(
    root: Root, table: PluginTable, old_exit: OldExit
) -> None:
    for mtime, id in enumerate(["used", "a", "new"]):
        old_exit(id, mtime)
    table.reserve("used")
    for _ in range(2):
        table.remove(table.reserve("x"))
    assert kept(root) == {"used", "new"}


def test_the_directory_of_a_plugin_that_is_not_cleaned_up_yet_is_not_taken_for_an_old_record(
    root: Root, old_exit: OldExit
) -> None:
    root.plugin("crashed").make({})  # the last executor was killed between the record and the deletion
    for mtime, id in enumerate(["crashed", "new"]):
        old_exit(id, mtime)
    PluginTable(root, PATIENCE)
    assert kept(root) == {"crashed", "new"}


def test_only_the_first_closing_counts(table: PluginTable, alive: SupervisedPlugin) -> None:
    assert table.close() == [alive]
    assert table.close() is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"process_id": "some-exec"}, "x: exit event (pid {pid}) ignored: the exit of an exec, some-exec"),
        pytest.param({"pid": 1}, "x: exit event (pid 1) ignored: wrong pid, expected {pid}"),
        pytest.param(
            {"container_id": "y", "process_id": "y"}, "y: exit event (pid {pid}) ignored: not supervised here"
        ),
    ],
    ids=["exec", "pid", "other"],
)
def test_an_ignored_event_is_logged_with_its_reason(
    table: PluginTable,
    alive: SupervisedPlugin,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    reason: str,
) -> None:
    caplog.set_level(logging.DEBUG, "pluginexec.executor")
    table.match_exit(exit_of(alive, **changes))
    assert caplog.messages == [reason.format(pid=alive.pid)]


def test_a_second_report_and_one_held_back_are_logged(
    table: PluginTable, alive: SupervisedPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    following = table.reserve("y")
    caplog.set_level(logging.DEBUG, "pluginexec.executor")
    for event in (exit_of(alive, exit_code=3), exit_of(alive), exit_of(following, pid=PID)):
        table.match_exit(event)
    assert caplog.messages == [
        f"x: exiting: an event reports the exit (pid {alive.pid}, code 3)",
        f"x: exit event (pid {alive.pid}) ignored: second report of this exit",
        f"y: exit event (pid {PID}) held back until the start is known",
    ]
