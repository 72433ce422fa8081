"""Plugins outlive their executor.

Real: containerd, the containers, executors in processes that are really SIGKILLed.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import (
    PLUGIN_NAMESPACE,
    AlreadyExists,
    Containerd,
    Executor,
    NotFound,
    Remote,
    Unavailable,
    Unknown,
)
from pluginexec.containerd.client import Client
from pluginexec.types import TaskState
from tests.integration.executor.test_lives import FOREVER
from tests.support.containers import ctr, wait_for_state
from tests.support.harness import PATIENCE, Buffer, Exits, wait_until
from tests.support.worker import Worker

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
NewVictim = Callable[..., Worker]
LINES = 20_000


def let_go(client: Client, id: str) -> None:
    """Let a plugin go on that waits at a FIFO of its own."""
    script = "until [ -p /run/go ]; do :; done; echo >/run/go"
    ctr(client, "tasks", "exec", "--exec-id", "go", "--", id, "sh", "-c", script)


@pytest.fixture
def new_victim(root_dir: Path, remote: Remote, tmp_path: Path) -> Iterator[NewVictim]:
    """Start executors on the test's root in processes of their own, each with one plugin that runs."""
    victims: list[Worker] = []
    discard = ["writer", os.devnull]

    def start(id: str, spec: dict[str, Any], remote: Remote = remote) -> Worker:
        journal = tmp_path / f"journal-{len(victims)}"
        victims.append(Worker(root_dir, remote, journal, [["create", id, spec, discard, discard]]))
        victims[-1].await_entry("done", "create")
        return victims[-1]

    yield start
    for victim in victims:
        victim.kill()


def test_a_running_plugin_is_taken_over(
    new_executor: NewExecutor, id: str, shell: Shell, exits: Exits, client: Client
) -> None:
    first = new_executor()
    first.create(id, shell(id, "echo one; trap 'echo two; exit 3' TERM; while :; do sleep 0.05; done"), Buffer())
    pid = client.tasks()[id].pid
    first.close()
    stdout = Buffer()
    second = new_executor()
    assert second.restore(id, stdout)
    assert second.is_running(id)
    assert client.tasks()[id].pid == pid
    status = second.stop(id)
    assert (status.exit_code, status.pid) == (3, pid)
    assert stdout.data.endswith(b"two\n")
    assert stdout.closings == 1
    assert [id for id, _ in exits.wait_for(1)] == [id]


def test_close_and_restore_lose_no_byte(
    new_executor: NewExecutor, id: str, shell: Shell, tmp_path: Path, client: Client
) -> None:
    script = f"i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); done; sleep 1000"
    parts: list[Buffer] = []
    executor = new_executor()
    executor.create(id, shell(id, script), parts.append(Buffer()) or parts[0])  # type: ignore[func-returns-value]
    expected = "".join(f"{i}\n" for i in range(LINES)).encode()
    # Several executors, each for as long as some of the output takes.
    for share in range(1, 6):
        wait_until(lambda: len(b"".join(p.data for p in parts)) >= len(expected) * share // 6)  # noqa: B023
        executor.close()
        assert parts[-1].closings == 1
        assert client.tasks()[id].state.value == "RUNNING"
        executor = new_executor()
        parts.append(Buffer())
        assert executor.restore(id, parts[-1])
    wait_until(lambda: len(b"".join(p.data for p in parts)) >= len(expected), "all of the output")
    assert b"".join(part.data for part in parts) == expected
    executor.stop(id, timeout=0)


def test_a_paused_plugin_is_alive(new_executor: NewExecutor, id: str, shell: Shell, client: Client) -> None:
    first = new_executor()
    first.create(id, shell(id, FOREVER))
    ctr(client, "tasks", "pause", "--", id)
    first.close()
    second = new_executor()
    assert second.restore(id)
    assert second.is_running(id)
    ctr(client, "tasks", "resume", "--", id)
    assert second.stop(id).exit_code == 0


def test_the_last_words_of_a_plugin_that_ended_meanwhile_arrive(
    new_executor: NewExecutor, id: str, shell: Shell, client: Client, exits: Exits
) -> None:
    first = new_executor()
    script = f"read x < /run/go; seq {LINES}; printf 'last words' >&2; exit 42"
    first.create(id, shell(id, "mkfifo /run/go; " + script), Buffer(), Buffer())
    first.close()
    let_go(client, id)
    wait_for_state(client, id, TaskState.STOPPED)
    stdout, stderr = Buffer(), Buffer()
    second = new_executor()
    assert not second.restore(id, stdout, stderr)
    assert stdout.data == "".join(f"{i}\n" for i in range(1, LINES + 1)).encode()
    assert stderr.data == b"last words"
    assert (stdout.closings, stderr.closings) == (1, 1)
    assert second.exit_status(id).exit_code == 42
    assert exits.ids == []
    assert client.containers() == []
    second.create(id, shell(id, "exit 0"))


def test_what_is_not_there_is_not_alive(new_executor: NewExecutor, id: str) -> None:
    stdout = Buffer()
    executor = new_executor()
    assert not executor.restore(id, stdout)
    assert (stdout.data, stdout.closings) == (b"", 1)
    with pytest.raises(NotFound):
        executor.is_running(id)


def test_a_container_without_a_task_is_removed(
    new_executor: NewExecutor, id: str, shell: Shell, client: Client
) -> None:
    first = new_executor()
    first.create(id, shell(id, FOREVER))
    first.close()
    client.delete_task(id, force=True)
    executor = new_executor()
    assert not executor.restore(id)
    assert client.containers() == []
    assert executor.exit_status(id).exit_code is None


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
def test_a_plugin_that_was_created_but_never_started_is_removed(
    new_executor: NewExecutor, id: str, shell: Shell, client: Client, tmp_path: Path, ours: bool
) -> None:
    # With a runtime whose "start" fails, ctr leaves the task as it was created.
    runtime = tmp_path / "runc"
    runtime.write_text('#!/bin/sh\nfor word; do [ "$word" = start ] && exit 1; done\nexec runc "$@"\n')
    runtime.chmod(0o755)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(shell(id, FOREVER)))
    executor = new_executor()
    if ours:  # as when our process dies in the middle of a create
        executor._root.plugin(id).make(shell(id, FOREVER))
    with pytest.raises(Unknown):
        ctr(client, "run", "--detach", "--config", str(config), "--runc-binary", str(runtime), "--null-io", "--", id)
    assert client.tasks()[id].state.value == "CREATED"
    assert not executor.restore(id)
    assert client.tasks() == {}
    assert client.containers() == []
    assert not executor._root.plugin(id).directory.exists()


def test_a_plugin_of_a_killed_process_is_taken_over(
    new_executor: NewExecutor, new_victim: NewVictim, id: str, shell: Shell, exits: Exits
) -> None:
    script = "trap 'echo end; exit 3' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.002; done"
    victim = new_victim(id, shell(id, script))
    victim.kill()
    stdout = Buffer()
    executor = new_executor()
    assert executor.restore(id, stdout)
    assert executor.stop(id).exit_code == 3
    numbers = stdout.data.decode().split("\n")
    assert numbers[-2:] == ["end", ""]
    # What the killed process had read is gone with it; from there on nothing is missing.
    whole = [int(number) for number in numbers[1:-2]]
    assert whole == list(range(whole[0], whole[0] + len(whole)))
    assert len(exits.wait_for(1)) == 1


def test_a_plugin_that_ended_after_our_process_was_killed_has_its_last_words_and_code(
    new_executor: NewExecutor, new_victim: NewVictim, id: str, shell: Shell, client: Client
) -> None:
    victim = new_victim(id, shell(id, "mkfifo /run/go; read x < /run/go; seq 5000; exit 9"))
    victim.kill()
    let_go(client, id)
    wait_for_state(client, id, TaskState.STOPPED)
    stdout = Buffer()
    executor = new_executor()
    assert not executor.restore(id, stdout)
    assert stdout.data == "".join(f"{i}\n" for i in range(1, 5001)).encode()
    assert executor.exit_status(id).exit_code == 9


def test_last_words_are_kept_though_the_task_is_deleted_while_nobody_reads(
    new_executor: NewExecutor, id: str, shell: Shell, client: Client
) -> None:
    first = new_executor()
    first.create(id, shell(id, "mkfifo /run/go; read x < /run/go; seq 5000; exit 9"), Buffer())
    first.close()
    let_go(client, id)
    wait_for_state(client, id, TaskState.STOPPED)
    client.delete_task(id)  # 1.7 and later do so as they start
    stdout = Buffer()
    assert not new_executor().restore(id, stdout)
    assert stdout.data == "".join(f"{i}\n" for i in range(1, 5001)).encode()


def test_the_last_output_outlives_both_the_executor_and_containerd(
    new_executor: NewExecutor, new_victim: NewVictim, mortal: Containerd, id: str, shell: Shell
) -> None:
    victim = new_victim(id, shell(id, "mkfifo /run/go; read x < /run/go; seq 5000; exit 9"), mortal.remote)
    victim.kill()
    client = mortal.remote.new_client(PLUGIN_NAMESPACE)
    let_go(client, id)
    wait_for_state(client, id, TaskState.STOPPED)
    before = mortal.pid
    assert before
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: mortal.pid not in (None, before), "the next containerd")
    wait_until(lambda: answers(client), "its answer")
    executor = new_executor(remote=mortal.remote)
    stdout = Buffer()
    # 1.7 and later have deleted the task by now, and forgotten its code.
    assert not executor.restore(id, stdout)
    assert stdout.data == "".join(f"{i}\n" for i in range(1, 5001)).encode()
    assert executor.exit_status(id).exit_code in (9, None)


def answers(client: Client) -> bool:
    try:
        client.tasks()
    except Unavailable:
        return False
    return True


def test_no_child_outlives_a_killed_process(
    new_victim: NewVictim, id: str, shell: Shell, clean_namespace: None
) -> None:
    victim = new_victim(id, shell(id, FOREVER))
    wait_until(victim.children, "ctr events")
    children = victim.children()
    victim.kill()
    wait_until(lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children), "their end")


def test_create_of_a_plugin_that_runs_unrestored_leaves_it_untouched(
    new_executor: NewExecutor, id: str, shell: Shell
) -> None:
    first = new_executor()
    first.create(id, shell(id, "trap 'echo end; exit 3' TERM; while :; do sleep 0.05; done"), Buffer())
    first.close()
    second = new_executor()
    with pytest.raises(AlreadyExists):
        second.create(id, shell(id, "exit 0"), Buffer())
    stdout = Buffer()
    assert second.restore(id, stdout)
    assert second.stop(id).exit_code == 3
    assert stdout.data == b"end\n"


def test_restore_of_what_is_supervised_already_is_refused(executor: Executor, id: str, shell: Shell) -> None:
    executor.create(id, shell(id, FOREVER))
    with pytest.raises(AlreadyExists):
        executor.restore(id)
    assert executor.is_running(id)


@pytest.fixture
def foreign(client: Client, id: str, shell: Shell, tmp_path: Path) -> Callable[[str], None]:
    """Start a plugin as something else would: with FIFOs that containerd knows, and nobody reads yet."""

    def start(script: str) -> None:
        config = tmp_path / "config.json"
        config.write_text(json.dumps(shell(id, script)))
        fifos = tmp_path / "fifos"
        ctr(client, "run", "--detach", "--config", str(config), "--fifo-dir", str(fifos), "--", id)

    return start


def test_a_plugin_of_another_program_is_attached_to(
    new_executor: NewExecutor, id: str, foreign: Callable[[str], None], exits: Exits, client: Client
) -> None:
    foreign("trap 'echo end; echo err >&2; exit 3' TERM; while :; do echo tick; sleep 0.05; done")
    stdout, stderr = Buffer(), Buffer()
    executor = new_executor()
    assert executor.restore(id, stdout, stderr)
    wait_until(lambda: b"tick\n" in stdout.data, "its output")
    executor.signal(id, "TERM")
    status = executor.wait(id, timeout=PATIENCE)
    assert status.exit_code == 3
    assert stdout.data.endswith(b"tick\nend\n")
    assert stderr.data == b"err\n"
    assert (stdout.closings, stderr.closings) == (1, 1)
    assert [id for id, _ in exits.wait_for(1)] == [id]
    assert client.containers() == []


def test_a_plugin_of_another_program_survives_a_close(
    new_executor: NewExecutor, id: str, foreign: Callable[[str], None], client: Client
) -> None:
    foreign(FOREVER)
    executor = new_executor()
    assert executor.restore(id, Buffer(), Buffer())
    executor.close()
    assert client.tasks()[id].state.value == "RUNNING"


def test_a_stopped_plugin_of_another_program_is_removed(
    new_executor: NewExecutor, id: str, foreign: Callable[[str], None], client: Client
) -> None:
    foreign("exit 3")
    wait_for_state(client, id, TaskState.STOPPED)
    stdout = Buffer()
    executor = new_executor()
    assert not executor.restore(id, stdout)
    # What nobody read is gone: its shim closed the FIFOs when it ended.
    assert (stdout.data, stdout.closings) == (b"", 1)
    assert executor.exit_status(id).exit_code == 3
    assert client.containers() == []


def test_close_and_restore_lose_no_byte_of_a_plugin_of_another_program(
    new_executor: NewExecutor, id: str, foreign: Callable[[str], None], client: Client
) -> None:
    count = 10 * LINES
    # It waits: the ctr that starts it reads what it prints at once, and takes that with it.
    foreign(f"mkfifo /run/go; read x < /run/go; seq {count}; sleep 1000")
    expected = "".join(f"{i}\n" for i in range(1, count + 1)).encode()
    parts: list[Buffer] = []
    for share in range(1, 7):
        executor = new_executor()
        parts.append(Buffer())
        assert executor.restore(id, parts[-1])
        if share == 1:
            let_go(client, id)
        wait_until(lambda: sum(len(part.data) for part in parts) >= len(expected) * share // 6)  # noqa: B023
        if share < 6:
            executor.close()
    assert b"".join(part.data for part in parts) == expected
    executor.stop(id, timeout=0)
