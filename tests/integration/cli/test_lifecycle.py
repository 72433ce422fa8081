"""Plugins in the background from creation to removal: run -d, create, start, stop, kill, wait, rm, restore.

Real: the console script, containerd, the plugins and their loggers, processes that are killed.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Executor, NotFound
from pluginexec.host.records import SHORT_LOCK_TIMEOUT, Records, is_alive
from tests.integration.cli.conftest import Px, Spawn, finish
from tests.support.harness import PATIENCE, catches, wait_until
from tests.support.layouts import one_directory
from tests.support.probe import SCRIPT

TICK = "while :; do sleep 0.05; done"
Detached = Callable[..., str]


@pytest.fixture
def records(root_dir: Path) -> Records:
    return Records(one_directory(root_dir))


def test_a_detached_plugin_goes_on_without_a_process_of_ours(detached: Detached, records: Records) -> None:
    id = detached(f"echo up; {TICK}")
    assert is_alive(records.state(id))
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        assert not (str(SCRIPT) in words or words[:1] == ["ctr"]) or str(records.layout.root) not in " ".join(words)


def test_it_prints_its_id_alone(px: Px, rootfs: Path) -> None:
    done = px("run", "-d", "--rootfs", rootfs, "true")
    assert (done.code, done.err) == (0, b"")
    assert len(done.out.strip()) == 12
    assert px("wait", done.out.decode().strip()).out == b"0\n"


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_wait_prints_the_exit_code_and_ends_with_0(detached: Detached, px: Px, code: int) -> None:
    id = detached(f"sleep 0.2; exit {code}")
    done = px("wait", id)
    assert (done.code, done.lines) == (0, [str(code)])
    assert px("wait", id).lines == [str(code)], "of one that has ended long ago"


def test_a_created_plugin_starts_when_it_is_started_and_again_when_it_has_ended(px: Px, rootfs: Path, id: str) -> None:
    done = px("create", "--name", id, "--rootfs", rootfs, "sh", "-c", "echo life; exit 3")
    assert (done.code, done.lines) == (0, [id])
    assert px("ps", "-a", "--format", "{{.State}}").lines == ["created"]
    for _ in range(2):
        assert px("start", id).lines == [id]
        assert px("wait", id).lines == ["3"]
    assert px("logs", id).lines == ["life", "life"]


def test_a_start_of_one_that_runs_changes_nothing(detached: Detached, px: Px, records: Records) -> None:
    id = detached(TICK)
    pid = records.state(id).pid
    assert px("start", id).code == 0
    assert records.state(id).pid == pid


def test_stop_sends_the_stop_signal_and_waits(detached: Detached, px: Px, records: Records) -> None:
    id = detached(f"trap 'echo bye; exit 5' USR1; echo up; {TICK}", "--stop-signal", "USR1")
    wait_until(lambda: px("logs", id).lines == ["up"], "the trap")
    assert px("stop", id).lines == [id]
    assert (records.state(id).status, records.state(id).exit_code) == ("exited", 5)
    assert px("logs", id).lines == ["up", "bye"]
    assert px("stop", id).code == 0, "of one that has stopped"


def test_stop_kills_what_ignores_it_and_says_so(detached: Detached, px: Px, records: Records) -> None:
    id = detached(f"trap 'echo got it' INT; echo up; {TICK}")
    wait_until(lambda: px("logs", id).lines == ["up"], "the trap")
    done = px("stop", "-s", "INT", "-t", "0.2", id)
    assert (done.code, done.lines) == (0, [id])
    assert b": ignored SIGINT for 0.2 s: killed\n" in done.err
    assert px("logs", id).lines == ["up", "got it"]
    assert records.state(id).exit_code == 137


def test_kill_sends_a_signal_and_does_not_wait(detached: Detached, px: Px) -> None:
    id = detached(f"trap 'echo got it; exit 9' USR2; echo up; {TICK}")
    wait_until(lambda: px("logs", id).lines == ["up"], "the trap")
    assert px("kill", "-s", "SIGUSR2", id).lines == [id]
    assert px("wait", id).lines == ["9"]


def test_kill_is_sigkill_by_default(detached: Detached, px: Px) -> None:
    id = detached(TICK)
    assert px("kill", id).code == 0
    assert px("wait", id).lines == ["137"]
    done = px("kill", id)
    assert (done.code, done.out) == (125, b"")
    assert done.err == f"pluginexec: kill '{id}': it is not running\n".encode()


def test_each_of_several_is_tried_and_each_failure_is_one_line(detached: Detached, px: Px) -> None:
    ids = [detached(TICK) for _ in range(2)]
    done = px("kill", ids[0], "no-such", ids[1])
    assert (done.code, done.lines) == (125, ids)
    assert done.err.count(b"\n") == 1
    assert b"no such plugin: 'no-such'" in done.err


def test_several_are_stopped_side_by_side_and_printed_in_the_order_asked(
    detached: Detached, px: Px, tmp_path: Path
) -> None:
    # Each waits for the others' signals: one after the other, all but the last would be killed.
    waits = "touch /shared/$0; until [ -e /shared/a -a -e /shared/b -a -e /shared/c ]; do sleep 0.05; done; exit 7"
    script = "trap '%s' TERM; touch /shared/up-$0; while :; do sleep 0.05; done"
    ids = [
        detached(script.replace("$0", name) % waits.replace("$0", name), "-v", f"{tmp_path}:/shared") for name in "abc"
    ]
    wait_until(lambda: len(list(tmp_path.glob("up-*"))) == 3, "the traps")
    done = px("stop", "-t", PATIENCE, ids[1], "no-such", ids[0], ids[2])
    assert (done.code, done.lines) == (125, [ids[1], ids[0], ids[2]])
    assert done.err.count(b"\n") == 1
    assert px("wait", *ids).lines == ["7"] * 3
    assert px("rm", ids[2], ids[0], ids[1]).lines == [ids[2], ids[0], ids[1]]


def test_the_beginning_of_an_id_will_do(detached: Detached, px: Px) -> None:
    id = detached("exit 4")
    assert px("wait", id[:-1]).lines == ["4"]


def test_rm_removes_what_has_ended_with_its_log_and_refuses_what_runs(
    detached: Detached, px: Px, records: Records, root_dir: Path
) -> None:
    ended, running = detached("echo x"), detached(TICK)
    px("wait", ended)
    assert px("rm", ended).lines == [ended]
    done = px("rm", running)
    assert done.code == 125
    assert b"it is running; hint: stop it first, or use 'rm -f'" in done.err
    assert px("rm", "-f", running).lines == [running]
    assert records.ids() == []
    assert not list((root_dir / "plugins").iterdir())
    assert not list((root_dir / "containers").iterdir())


def test_with_rm_it_is_removed_by_the_first_command_that_looks(detached: Detached, px: Px, records: Records) -> None:
    id = detached("exit 6", "--rm")
    assert px("wait", id).lines == ["6"]
    assert records.ids() == []
    id = detached("exit 6", "--rm")
    wait_until(lambda: not is_alive(records.state(id)), "its end")
    assert px("ps", "-a", "-q").lines == []
    assert records.ids() == []


def test_a_name_is_taken_until_it_is_removed(detached: Detached, px: Px, rootfs: Path) -> None:
    id = detached("true")
    done = px("run", "-d", "--name", id, "--rootfs", rootfs, "true")
    assert (done.code, done.out) == (125, b"")
    assert b"there is a plugin of this id; hint: remove it with 'pluginexec rm'" in done.err
    px("rm", "-f", id)
    assert px("run", "-d", "--name", id, "--rootfs", rootfs, "true").code == 0


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/etc/passwd", 126), ("/tmp", 126)])
def test_a_command_that_cannot_be_run_is_126_or_127_and_leaves_nothing(
    px: Px, rootfs: Path, records: Records, command: str, code: int
) -> None:
    for detach in ((), ("-d",)):
        done = px("run", *detach, "--rootfs", rootfs, command)
        assert (done.code, done.out) == (code, b"")
        assert done.err.count(b"\n") == 1
        assert command.encode() in done.err
    assert records.ids() == []
    assert not list((records.layout.root / "containers").iterdir())


def test_a_start_that_fails_is_remembered_and_can_be_repeated(px: Px, rootfs: Path, id: str, records: Records) -> None:
    px("create", "--name", id, "--rootfs", rootfs, "no-such-command")
    assert px("start", id).code == 127
    assert records.state(id).status == "created"
    assert records.state(id).exit_code == 127
    assert "no-such-command" in px("inspect", "--format", "{{.Error}}", id).lines[0]


def test_a_restart_policy_without_serve_is_said_to_do_nothing(px: Px, rootfs: Path) -> None:
    done = px("run", "-d", "--restart", "always", "--rootfs", rootfs, "true")
    assert done.code == 0
    assert b"'pluginexec serve'" in done.err
    assert done.err.count(b"\n") == 1


def test_restore_finds_out_what_became_of_plugins(detached: Detached, px: Px, records: Records) -> None:
    running, ended = detached(TICK), detached("exit 8")
    wait_until(lambda: not is_alive(records.state(ended)), "its end")
    assert sorted(px("restore").lines) == sorted([f"{running} running", f"{ended} exited 8"])
    assert records.state(ended).exit_code == 8
    done = px("restore", "no-such")
    assert (done.code, done.out) == (125, b"")


@pytest.fixture
def gate(rootfs: Path, id: str) -> Iterator[Path]:
    """A file that a plugin waits for with ``until [ -e /tmp/ID ]``."""
    path = rootfs / "tmp" / id
    yield path
    path.unlink(missing_ok=True)


def test_restore_adopts_what_a_program_left_behind_and_attach_reads_what_waited(
    px: Px,
    start: Spawn,
    new_executor: Callable[..., Executor],
    shell: Any,
    id: str,
    records: Records,
    gate: Path,
) -> None:
    executor = new_executor()
    stream = open(os.devnull, "wb")  # noqa: SIM115 # the executor closes it
    executor.create(id, shell(id, f"until [ -e /tmp/{id} ]; do sleep 0.05; done; echo waited; exit 4"), stream, stream)
    executor.close()
    assert px("restore").lines == [f"{id} running"]
    attached = start("attach", id)
    wait_until(lambda: records.is_locked(id), "the lock of attach")
    gate.touch()
    done = finish(attached)
    assert (done.code, done.out) == (4, b"waited\n"), done.err
    assert px("logs", id).lines == ["waited"]


def test_a_killed_run_in_the_foreground_is_taken_over_by_attach(
    start: Spawn, px: Px, rootfs: Path, id: str, records: Records, gate: Path
) -> None:
    script = f"echo first; until [ -e /tmp/{id} ]; do sleep 0.05; done; echo second; exit 3"
    process = start("run", "--name", id, "--rootfs", rootfs, "--", "sh", "-c", script)
    assert process.stdout
    assert process.stdout.readline() == b"first\n"
    assert b"another process is attached to its output" in px("attach", id).err
    process.kill()
    process.wait()
    assert px("ps", "-q").lines == [id]
    attached = start("attach", id)
    wait_until(lambda: records.is_locked(id), "the lock of attach")
    gate.touch()
    done = finish(attached)
    assert (done.code, done.out) == (3, b"second\n"), done.err
    assert px("logs", id).lines == ["first", "second"]


def test_attach_waits_for_a_command_that_only_looks(
    start: Spawn, px: Px, rootfs: Path, id: str, records: Records, gate: Path
) -> None:
    script = f"until [ -e /tmp/{id} ]; do sleep 0.05; done; exit 3"
    process = start("run", "--name", id, "--rootfs", rootfs, "--", "sh", "-c", script)
    wait_until(lambda: records.ids() and is_alive(records.state(id)), "its start")
    process.kill()
    process.wait()
    with records.lock(id):
        attached = start("attach", id)
        wait_until(lambda: psutil.Process(attached.pid).num_threads() == 2, "the thread of its signals")
        time.sleep(SHORT_LOCK_TIMEOUT / 5)  # so long the look takes
    gate.touch()
    done = finish(attached)
    assert (done.code, done.out) == (3, b""), done.err


def test_what_a_killed_run_in_the_foreground_printed_last_is_in_its_log(
    start: Spawn, px: Px, rootfs: Path, id: str, records: Records, gate: Path
) -> None:
    script = f"echo first; until [ -e /tmp/{id} ]; do sleep 0.05; done; printf last; exit 3"
    process = start("run", "--name", id, "--rootfs", rootfs, "--", "sh", "-c", script)
    assert process.stdout
    assert process.stdout.readline() == b"first\n"
    process.kill()
    process.wait()
    gate.touch()
    wait_until(lambda: not is_alive(records.state(id)), "its end")
    assert px("logs", id).out == b"first\nlast"
    assert px("wait", id).lines == ["3"]


def test_attach_shows_what_comes_and_ends_with_the_plugins_code(detached: Detached, start: Spawn, px: Px) -> None:
    id = detached(f"echo before; trap 'echo got it >&2; exit 5' TERM; {TICK}")
    wait_until(lambda: px("logs", id).lines == ["before"], "its first line")
    process = start("attach", id)
    wait_until(lambda: catches(process.pid, signal.SIGTERM), "the handler of the signal")
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert (done.code, done.out, done.err) == (5, b"", b"got it\n")
    done = px("attach", id)
    assert done.code == 125
    assert b"it is not running" in done.err


@pytest.mark.parametrize("left_behind", [False, True])
def test_attach_ends_in_silence_when_its_reader_goes_away_and_the_plugin_runs_on(
    detached: Detached, start: Spawn, px: Px, rootfs: Path, id: str, left_behind: bool
) -> None:
    script = "while :; do echo more; sleep 0.01; done"
    if left_behind:
        process = start("run", "--name", id, "--rootfs", rootfs, "--", "sh", "-c", script)
        assert process.stdout
        assert process.stdout.readline() == b"more\n"
        process.kill()
        process.wait()
    else:
        id = detached(script)
    process = start("attach", id)
    assert process.stdout
    assert process.stdout.readline() == b"more\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == 141
    assert process.stderr
    assert process.stderr.read() == b""
    assert px("ps", "-q").lines == [id]
    assert px("rm", "-f", id).code == 0


def test_inspect_shows_all_there_is_to_know(detached: Detached, px: Px, root_dir: Path) -> None:
    id = detached("exit 3", "-l", "a=b", "-e", "X=1")
    px("wait", id)
    document = json.loads(px("inspect", id).out)
    assert (document["id"], document["state"], document["exit_code"]) == (id, "exited", 3)
    assert document["labels"] == {"a": "b"}
    assert "X=1" in document["spec"]["process"]["env"]
    assert document["log_path"] == f"{root_dir}/plugins/{id}/{id}-json.log"
    assert px("inspect", "--format", "{{.Spec.Root.Path}}", id).lines == [document["spec"]["root"]["path"]]
    assert px("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", id).lines == ["exited 3"]


def test_a_plugin_of_another_containerd_is_looked_for_there(
    detached: Detached, px: Px, spawn: Spawn, root_dir: Path
) -> None:
    id = detached(TICK)
    done = finish(spawn("--root", root_dir, "stop", "-t", "0", id))
    assert (done.code, done.lines) == (0, [id])


def test_nothing_is_left_of_what_was_run(detached: Detached, px: Px, client: Any) -> None:
    for _ in range(3):
        id = detached("echo x; exit 1")
        px("wait", id)
        px("rm", id)
    assert client.containers() == []
    with pytest.raises(NotFound):
        client.kill(id, 9)
