"""Lives of plugins, from create to the exit handler.

Real: containerd, ctr, runc, the containers, the kernel's OOM killer.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pluginexec import (
    AlreadyExists,
    DeadlineExceeded,
    EventInfo,
    EventType,
    Executor,
    ExitStatus,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unknown,
)
from pluginexec.containerd.client import Client
from pluginexec.root.plugin_files import PluginFiles
from tests.support.harness import PATIENCE, Buffer, Exits, wait_until

TRAPS_TERM = "trap 'exit 33' TERM; echo up; while :; do sleep 0.05; done"
FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"
Shell = Callable[..., dict[str, Any]]


def test_the_life_of_mobys_own_executor_test(executor: Executor, id: str, shell: Shell, exits: Exits) -> None:
    broken = shell(id, "")
    broken["process"]["args"] = ["/no/such/executable"]
    with pytest.raises(InvalidArgument, match="/no/such/executable"):
        executor.create(id, broken)
    executor.create(id, shell(id, FOREVER))
    assert executor.is_running(id)
    pid = executor._table.get(id).pid
    with pytest.raises(AlreadyExists):
        executor.create(id, shell(id, "exit 7"))
    assert executor.is_running(id)
    assert executor._table.get(id).pid == pid
    executor.signal(id, signal.SIGTERM)
    assert executor.wait(id, timeout=30).exit_code == 0
    executor.create(id, shell(id, "exit 3"))
    assert executor.wait(id, timeout=30).exit_code == 3
    assert [status.exit_code for _, status in exits.wait_for(2)] == [0, 3]


def test_a_failed_start_leaves_nothing_behind(executor: Executor, id: str, shell: Shell, client: Client) -> None:
    broken = shell(id, "")
    broken["process"]["args"] = ["/no/such/executable"]
    with pytest.raises(InvalidArgument):
        executor.create(id, broken)
    assert client.containers() == []
    assert client.tasks() == {}
    assert not executor._root.plugin(id).directory.exists()
    assert id not in executor._table


def test_a_create_that_fails_after_the_start_leaves_nothing_behind(
    executor: Executor, id: str, shell: Shell, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PluginFiles, "read_pid", lambda self: None)
    with pytest.raises(Unknown, match="wrote no pid"):
        executor.create(id, shell(id, FOREVER), Buffer())
    assert client.tasks() == {}
    assert client.containers() == []
    assert not executor._root.plugin(id).directory.exists()
    assert id not in executor._table


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("exit 255", 255),
        # Not the init process itself: the kernel shields that from its own namespace.
        ("sh -c 'kill -KILL $$'; exit $?", 137),
        ("sh -c 'kill -TERM $$'; exit $?", 143),
    ],
)
def test_the_exit_code_comes_back(
    executor: Executor, id: str, shell: Shell, exits: Exits, script: str, code: int
) -> None:
    before = datetime.now(timezone.utc)
    executor.create(id, shell(id, script))
    status = executor.wait(id, timeout=30)
    after = datetime.now(timezone.utc)
    assert (status.exit_code, status.oom_killed) == (code, False)
    assert before - timedelta(seconds=1) <= status.exited_at <= after + timedelta(seconds=1)
    assert exits.wait_for(1) == [(id, status)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143)])
def test_a_signal_that_ends_the_init_process_is_in_its_exit_code(
    executor: Executor, id: str, shell: Shell, number: signal.Signals, code: int
) -> None:
    spec = shell(id, "")
    # Without a pid namespace the init process is an ordinary one, whom SIGTERM ends.
    spec["linux"]["namespaces"].remove({"type": "pid"})
    spec["process"]["args"] = ["sleep", "1000"]
    executor.create(id, spec)
    pid = executor._table.get(id).pid
    executor.signal(id, number)
    status = executor.wait(id, timeout=30)
    assert (status.exit_code, status.pid) == (code, pid)


def test_a_plugin_over_its_memory_limit_is_reported_as_oom_killed(executor: Executor, id: str, shell: Shell) -> None:
    spec = shell(id, "exec tail /dev/zero")
    spec["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    executor.create(id, spec)
    status = executor.wait(id, timeout=60)
    assert (status.exit_code, status.oom_killed) == (137, True)


def test_a_plugin_that_ends_before_create_returns_has_its_one_exit(
    executor: Executor, id: str, shell: Shell, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = executor._lifecycle.start
    held: list[EventInfo] = []

    def start_and_see_it_end(*arguments: Any) -> Any:
        streams = started(*arguments)
        wait_until(lambda: executor._table.get(id).pending_exits, "the early event")
        held.extend(executor._table.get(id).pending_exits)
        return streams

    monkeypatch.setattr(executor._lifecycle, "start", start_and_see_it_end)
    executor.create(id, shell(id, "exit 5"))
    status = exits.wait_for(1)[0][1]
    # The event's own time: a look that found the plugin ended would have come later, and could not tell it.
    assert (status.exit_code, status.exited_at) == (5, held[0].exited_at)
    with pytest.raises(NotFound):
        executor.is_running(id)


def test_100_plugins_that_end_at_once_have_one_exit_each(
    executor: Executor, new_id: Callable[[], str], shell: Shell, exits: Exits
) -> None:
    ids = [new_id() for _ in range(100)]
    work = list(ids)

    def create() -> None:
        while work:
            id = work.pop()
            executor.create(id, shell(id, f"exit {int(id.split('-')[1]) % 7}"))

    creators = [threading.Thread(target=create) for _ in range(4)]
    for creator in creators:
        creator.start()
    for creator in creators:
        creator.join()
    told = exits.wait_for(100, timeout=60)
    # Anything doubled is late, not lost: what comes after the last one must be waited for by way of a later event.
    executor.create(last := new_id(), shell(last, "exit 0"))
    told = exits.wait_for(101)
    assert sorted(id for id, _ in told) == sorted([*ids, last])
    assert all(status.exit_code == int(id.split("-")[1]) % 7 for id, status in told if id != last)


def test_a_handler_may_create_the_same_id_again_and_wait_for_its_end(
    new_executor: Callable[..., Executor], id: str, shell: Shell
) -> None:
    codes: list[int | None] = []
    done = threading.Event()

    class Restart:
        def handle_exit_event(self, id: str, status: ExitStatus) -> None:
            codes.append(status.exit_code)
            if len(codes) <= 20:
                executor.create(id, shell(id, f"exit {len(codes)}"))
                assert executor.wait(id, timeout=30).exit_code is not None
            else:
                done.set()

    executor = new_executor(Restart())
    executor.create(id, shell(id, "exit 0"))
    assert done.wait(60)
    assert codes == list(range(21))


def test_a_handler_that_raises_is_logged_and_stops_nothing(
    new_executor: Callable[..., Executor], new_id: Callable[[], str], shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    class Raises:
        def handle_exit_event(self, id: str, status: ExitStatus) -> None:
            told.append(id)
            raise RuntimeError("the handler's own trouble")

    executor = new_executor(Raises())
    ids = [new_id(), new_id()]
    for id in ids:
        executor.create(id, shell(id, "exit 0"))
        executor.wait(id, timeout=30)
    wait_until(lambda: caplog.text.count("RuntimeError: the handler's own trouble") == 2, "the log of both")
    assert told == ids


def test_a_handler_that_takes_its_time_delays_no_other(
    new_executor: Callable[..., Executor], new_id: Callable[[], str], shell: Shell
) -> None:
    slow, told, release = new_id(), Exits(), threading.Event()

    class Slow:
        def handle_exit_event(self, id: str, status: ExitStatus) -> None:
            if id == slow:
                assert release.wait(60)
            told.handle_exit_event(id, status)

    executor = new_executor(Slow())
    executor.create(slow, shell(slow, "exit 0"))
    executor.wait(slow, timeout=30)
    others = [new_id() for _ in range(5)]
    for id in others:
        executor.create(id, shell(id, "exit 0"))
    assert sorted(id for id, _ in told.wait_for(5)) == sorted(others)
    # The slow one's own id is free, too.
    executor.create(slow, shell(slow, FOREVER))
    release.set()
    assert told.wait_for(6)[5][0] == slow


def test_the_end_of_an_exec_in_the_plugin_does_nothing(
    executor: Executor, id: str, shell: Shell, client: Client, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[EventInfo] = []
    match_exit = executor._table.match_exit

    def note_and_keep(event: EventInfo) -> Any:
        seen.append(event)
        return match_exit(event)

    monkeypatch.setattr(executor._table, "match_exit", note_and_keep)
    executor.create(id, shell(id, FOREVER))
    client._ctr.run("tasks", "exec", "--exec-id", "e1", "--", id, "true", operation="exec", id=id)
    wait_until(lambda: seen, "the exec's exit event")
    assert seen[0].process_id == "e1"
    assert executor.is_running(id)
    assert exits.ids == []


def test_the_exit_of_another_container_in_the_namespace_does_nothing(
    executor: Executor,
    new_id: Callable[[], str],
    shell: Shell,
    client: Client,
    exits: Exits,
    new_executor: Callable[..., Executor],
    tmp_path: Any,
) -> None:
    mine, foreign = new_id(), new_id()
    executor.create(mine, shell(mine, FOREVER))
    other = new_executor(Exits(), root=tmp_path / "other")
    other.create(foreign, shell(foreign, "exit 9"))
    assert other.wait(foreign, timeout=30).exit_code == 9
    # Both executors see both events; ours has seen the foreign one when it has seen the end of its own.
    executor.stop(mine)
    assert [id for id, _ in exits.wait_for(1)] == [mine]


def test_a_late_duplicate_of_an_earlier_exit_does_not_end_the_next_life(
    executor: Executor, id: str, shell: Shell, exits: Exits
) -> None:
    executor.create(id, shell(id, "exit 1"))
    first = executor.wait(id, timeout=30)
    executor.create(id, shell(id, FOREVER))
    executor.process_event(id, EventType.EXIT, EventInfo(id, id, pid=first.pid, exit_code=137))
    assert executor.is_running(id)
    executor.stop(id)
    assert [status.exit_code for _, status in exits.wait_for(2)] == [1, 0]


def test_stop_sends_sigterm_first(executor: Executor, id: str, shell: Shell) -> None:
    executor.create(id, shell(id, TRAPS_TERM))
    assert executor.stop(id).exit_code == 33


def test_stop_kills_what_ignores_sigterm(
    executor: Executor, id: str, shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    executor.create(id, shell(id, "trap '' TERM; while :; do sleep 1; done"))
    with caplog.at_level(logging.WARNING):
        assert executor.stop(id, timeout=0.2).exit_code == 137
    assert "ignored SIGTERM for 0.2 s: killed" in caplog.text


def test_stop_ends_a_paused_plugin(executor: Executor, id: str, shell: Shell, client: Client) -> None:
    output = Buffer()
    executor.create(id, shell(id, TRAPS_TERM), output)
    wait_until(lambda: output.data, "the trap")
    client.pause(id)
    assert executor.is_running(id)
    assert executor.stop(id, timeout=PATIENCE).exit_code == 33


def test_a_paused_plugin_that_ignores_sigterm_is_killed(
    executor: Executor, id: str, shell: Shell, client: Client
) -> None:
    executor.create(id, shell(id, "trap '' TERM; while :; do sleep 1; done"))
    client.pause(id)
    assert executor.stop(id, timeout=0.2).exit_code == 137


def test_wait_gives_up_after_its_timeout(executor: Executor, id: str, shell: Shell) -> None:
    executor.create(id, shell(id, FOREVER))
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        executor.wait(id, timeout=0.1)
    assert time.monotonic() - began < 10
    assert executor.is_running(id)


def test_a_timeout_may_be_infinite(executor: Executor, id: str, shell: Shell) -> None:
    executor.create(id, shell(id, FOREVER))
    assert executor.stop(id, timeout=math.inf).exit_code == 0
    executor.create(id, shell(id, "exit 3"))
    assert executor.wait(id, timeout=math.inf).exit_code == 3


def test_wait_answers_for_a_plugin_that_has_ended_before(executor: Executor, id: str, shell: Shell) -> None:
    executor.create(id, shell(id, "exit 4"))
    status = executor.wait(id, timeout=30)
    assert executor.wait(id) == executor.exit_status(id) == status


def test_an_unknown_or_ended_id_is_not_found(executor: Executor, id: str, shell: Shell) -> None:
    for call in (executor.is_running, executor.wait, executor.stop, executor.exit_status):
        with pytest.raises(NotFound):
            call(id)
    with pytest.raises(NotFound):
        executor.signal(id, "TERM")
    executor.create(id, shell(id, "exit 0"))
    executor.wait(id, timeout=30)
    with pytest.raises(NotFound):
        executor.is_running(id)
    with pytest.raises(NotFound):
        executor.signal(id, "TERM")


def test_a_signal_that_is_none_is_refused(executor: Executor, id: str, shell: Shell) -> None:
    executor.create(id, shell(id, FOREVER))
    with pytest.raises(InvalidArgument, match="NOSUCH"):
        executor.signal(id, "NOSUCH")
    assert executor.is_running(id)


@pytest.mark.parametrize("name", [signal.SIGUSR1, int(signal.SIGUSR1), "USR1", "sigusr1"])
def test_a_signal_is_named_in_any_usual_way(executor: Executor, id: str, shell: Shell, name: int | str) -> None:
    executor.create(id, shell(id, "trap 'exit 10' USR1; while :; do sleep 0.05; done"))

    def ended() -> bool:
        executor.signal(id, name)  # again, as long as the trap may not be set yet; before that it is ignored
        return not executor.is_running(id)

    with pytest.raises(NotFound):
        wait_until(lambda: ended() and executor.is_running(id), "the end")
    assert executor.wait(id, timeout=30).exit_code == 10


def test_a_second_executor_on_the_root_is_refused(executor: Executor, new_executor: Callable[..., Executor]) -> None:
    with pytest.raises(FailedPrecondition, match="in use"):
        new_executor()
    executor.close()
    new_executor()


def test_close_wakes_who_waits_and_refuses_what_comes_after(
    executor: Executor, id: str, shell: Shell, client: Client
) -> None:
    executor.create(id, shell(id, FOREVER))
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            executor.wait(id)
        except FailedPrecondition as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    executor.close()
    waiter.join(30)
    assert "closed" in str(errors[0])
    with pytest.raises(FailedPrecondition, match="closed"):
        executor.create(id, shell(id, FOREVER))
    assert client.tasks()[id].state.value == "RUNNING"


def test_a_handler_may_close_its_executor(new_executor: Callable[..., Executor], id: str, shell: Shell) -> None:
    closed = threading.Event()

    class Close:
        def handle_exit_event(self, id: str, status: ExitStatus) -> None:
            executor.close()
            closed.set()

    executor = new_executor(Close())
    executor.create(id, shell(id, "exit 0"))
    assert closed.wait(30)
