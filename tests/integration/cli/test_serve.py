"""``pluginexec serve`` as a process, beside the other commands.

Real: the commands, containerd, the plugins, the end of serve and of containerd, the datagrams. There is no systemd:
its socket is the test's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Containerd, Remote
from pluginexec.daemon import private as embedded
from pluginexec.host.notify import notify_serve
from pluginexec.host.records import Records, is_alive
from tests.support.harness import wait_until
from tests.support.layouts import one_directory
from tests.support.plugins import Plugins, command_line, finished
from tests.support.serving import ServeProcess

Serve = Callable[..., ServeProcess]


@pytest.fixture
def pluginexec(root_dir: Path, containerd: Containerd) -> Callable[..., tuple[int, list[str], str]]:
    return lambda *arguments: finished(command_line(root_dir, containerd.address, *arguments))


@pytest.fixture
def serve(plugins: Plugins, root_dir: Path, containerd: Containerd, tmp_path: Path) -> Iterator[Serve]:
    """Start a serve; it ends with the test."""
    with processes(root_dir, containerd.address, tmp_path / "log") as start:
        yield start


@contextlib.contextmanager
def processes(root: Path, address: str, log: Path) -> Iterator[Serve]:
    started: list[ServeProcess] = []

    def make(*arguments: object, **environment: str) -> ServeProcess:
        started.append(ServeProcess(command_line(root, address, "serve", *arguments), log, **environment))
        return started[-1]

    try:
        yield make
    finally:
        for each in started:
            each.end(signal.SIGKILL)


def has_notify_socket(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "NOTIFY_SOCKET" in process.environ()
    return False


def test_systemd_is_notified_of_what_is_done_and_no_child_can_speak_for_it(
    plugins: Plugins, serve: Serve, tmp_path: Path
) -> None:
    id = plugins.run()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)

        def notified() -> str:
            return systemd.recv(1000).decode()

        serving = serve("--live-restore", NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert notified() == "READY=1\nSTATUS=plugins: 1 running"
        assert plugins.records.is_locked(id)
        wait_until(serving.children, "the stream of events")
        # A child has the variable between fork and exec.
        wait_until(lambda: not any(map(has_notify_socket, serving.children())), "children without NOTIFY_SOCKET")
        serving.send(signal.SIGHUP)
        assert notified().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert notified() == "READY=1\nSTATUS=plugins: 1 running"
        other = plugins.run()
        assert notified() == "STATUS=plugins: 2 running"
        assert serving.end() == 0
        assert notified() == "STOPPING=1\nSTATUS=leaving the plugins running"
    assert all(is_alive(plugins.records.state(each)) for each in (id, other))


def test_the_next_serve_takes_over_after_a_sigkill_and_each_exit_is_written_down_once(
    plugins: Plugins, serve: Serve
) -> None:
    count = 3
    ids = [plugins.run("echo; exec sleep 1000", restart="always", log_driver="raw") for _ in range(count)]
    first = serve("--stop-timeout", 0)
    first.await_line("ready; ")
    os.kill(plugins.records.state(ids[0]).pid, signal.SIGKILL)
    first.await_line(f"{ids[0]}: started")
    first.end(signal.SIGKILL)
    ended, running = plugins.records.state(ids[1]), plugins.records.state(ids[2])
    os.kill(ended.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(ended), "its end")
    second = serve("--stop-timeout", 0)
    second.await_line(f"{ids[1]}: had ended: exit code 137")
    second.await_line(f"{ids[1]}: started")
    wait_until(lambda: sum("ready" in line for line in second.logged) == 2, "readiness")
    assert plugins.records.state(ids[2]) == running
    assert second.end(signal.SIGTERM) == 0
    for id, runs in zip(ids, (2, 2, 1), strict=True):
        assert (plugins.records.directory(id) / "stdout.log").read_text() == "\n" * runs
        assert plugins.records.state(id).exit_code == 137
        ends = [line for line in second.logged if f"{id}: ended" in line or f"{id}: had ended" in line]
        assert len(ends) == runs


def test_the_other_commands_work_beside_it(
    plugins: Plugins, serve: Serve, pluginexec: Any, rootfs: Path, id: str
) -> None:
    serve().await_line("ready; ")
    run = ("run", "-d", "--name", id, "--restart", "always", "--rootfs", rootfs, "sleep", "1000")
    assert pluginexec(*run) == (0, [id], "")
    wait_until(lambda: plugins.records.is_locked(id), "the supervisor")
    os.kill(plugins.records.state(id).pid, signal.SIGKILL)
    wait_until(lambda: plugins.records.state(id).restart_count == 1, "the restart")
    wait_until(lambda: is_alive(plugins.records.state(id)), "the next life")
    assert pluginexec("ps", "-q")[1] == [id]
    assert pluginexec("start", id)[0] == 0
    assert pluginexec("stop", "-t", "0", id)[0] == 0
    assert pluginexec("wait", id)[1] == ["137"]
    assert pluginexec("start", id)[0] == 0
    assert pluginexec("rm", "-f", id)[0] == 0
    assert plugins.records.ids() == []


@pytest.fixture
def foreground(
    plugins: Plugins, root_dir: Path, containerd: Containerd, rootfs: Path, id: str
) -> Iterator[subprocess.Popen[str]]:
    """A run that says a word, and another one when it is told to end."""
    script = "trap 'echo last; exit 5' TERM; echo first; while :; do sleep 0.1; done"
    argv = command_line(root_dir, containerd.address, "run", "--name", id, "--rootfs", rootfs, "sh", "-c", script)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_run_in_the_foreground_keeps_its_plugin_to_itself(
    plugins: Plugins, serve: Serve, foreground: subprocess.Popen[str], id: str
) -> None:
    serving = serve(PLUGINEXEC_DEBUG="1")
    serving.await_line("ready; ")
    assert foreground.stdout
    assert foreground.stdout.readline() == "first\n"
    notify_serve(plugins.host.layout)
    serving.await_line(f"{id}: left to the command that works on it")
    foreground.terminate()
    assert foreground.stdout.read() == "last\n"
    assert foreground.wait() == 5
    assert plugins.records.state(id).exit_code == 5
    assert not any(f"{id}: taken over" in line for line in serving.logged)


def test_the_plugin_of_a_run_that_was_killed_is_taken_over_and_its_output_goes_to_its_log(
    plugins: Plugins, serve: Serve, foreground: subprocess.Popen[str], id: str, pluginexec: Any
) -> None:
    serving = serve()
    serving.await_line("ready; ")
    log = plugins.records.directory(id) / f"{id}-json.log"
    wait_until(lambda: log.exists() and b"first" in log.read_bytes(), "the first word")
    wait_until(lambda: plugins.records.state(id).status == "running", "its state")
    foreground.kill()
    foreground.wait()
    notify_serve(plugins.host.layout)
    serving.await_line(f"{id}: taken over")
    os.kill(plugins.records.state(id).pid, signal.SIGTERM)
    wait_until(lambda: plugins.records.state(id).exit_code == 5, "its end")
    assert pluginexec("logs", id)[1] == ["first", "last"]


def test_a_second_signal_kills_at_once_what_does_not_want_to_end(plugins: Plugins, serve: Serve) -> None:
    id = plugins.run("trap 'echo > /stopping' TERM; while :; do sleep 0.1; done", restart="always")
    serving = serve("--stop-timeout", 1000)
    serving.await_line("ready; ")
    serving.send(signal.SIGTERM)
    serving.await_line("ending: SIGTERM")
    assert is_alive(plugins.records.state(id))
    assert serving.end(signal.SIGINT) == 0
    assert plugins.records.state(id).exit_code == 137
    assert not plugins.records.stopped(id)


def test_a_second_serve_is_refused_in_one_line(serve: Serve, pluginexec: Any, root_dir: Path) -> None:
    serve().await_line("ready; ")
    code, printed, stderr = pluginexec("serve")
    assert (code, printed) == (125, [])
    assert stderr == (
        f"pluginexec: another 'pluginexec serve' keeps the plugins of '{root_dir}'; "
        "hint: stop that one first, or give this one another --root\n"
    )


def test_a_private_containerd_that_is_killed_comes_back_and_its_plugins_stay_supervised(
    no_leaks: None, new_id: Callable[[], str], shell: Any
) -> None:
    root = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))

    def containerd_pid() -> int:
        return int(((root / "containerd") / "containerd.pid").read_text() or 0)

    try:
        address = embedded.ensure_private(one_directory(root)).address
        plugins = Plugins(root, address, new_id, shell)
        id = plugins.run(restart="always")
        with processes(root, address, root / "log") as serve:
            serving = serve("--stop-timeout", 0)
            serving.await_line("ready; ")
            state = plugins.records.state(id)
            pid = containerd_pid()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: containerd_pid() not in (0, pid), "the next containerd")
            assert plugins.records.state(id) == state
            os.kill(state.pid, signal.SIGKILL)
            wait_until(lambda: plugins.records.state(id).restart_count == 1, "the restart")
            assert serving.end() == 0
            assert not is_alive(Records(one_directory(root)).state(id))
            assert Remote(address).listens()  # it is left to the next command
    finally:
        with Containerd(root / "containerd"):
            pass
        shutil.rmtree(root)
