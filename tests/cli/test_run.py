"""``pluginexec run`` as a user runs it: in a process of its own.

Real: the command, containerd (the tests' own, and the private one that the command starts), the plugins, the signals.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Containerd
from pluginexec.executor import DEFAULT_ROOT
from tests.tools.harness import PATIENCE, wait_until

TICK = "while :; do sleep 0.05; done"
Run = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(clean_namespace: None) -> Iterator[Run]:
    """Start ``pluginexec`` with pipes; what a test leaves running is ended."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "pluginexec", *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        with process:
            process.wait(PATIENCE)


@pytest.fixture
def shared(start: Run, containerd: Containerd, root_dir: Path, rootfs: Path) -> Run:
    """Start ``pluginexec run`` of a shell script on the tests' containerd."""

    def run(script: str, *options: object) -> subprocess.Popen[bytes]:
        where = ("--address", containerd.address, "--root", root_dir, *options)
        return start("run", *where, "--rootfs", rootfs, "--", "sh", "-c", script)

    return run


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def test_the_streams_are_passed_on_untouched_and_the_exit_code_too(shared: Run) -> None:
    script = r"printf 'out\0\377\n\nx'; printf 'err\r\n\0' >&2; exit 42"
    assert finish(shared(script)) == (42, b"out\0\xff\n\nx", b"err\r\n\0")


def test_success_is_0_and_silent(shared: Run) -> None:
    assert finish(shared("true")) == (0, b"", b"")


def test_a_plugin_that_died_of_a_signal_gives_128_more(shared: Run) -> None:
    assert finish(shared("sh -c 'kill -KILL $$'; exit $?"))[0] == 137


def test_a_bundle_runs(start: Run, containerd: Containerd, root_dir: Path, tmp_path: Path, id: str, shell: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(shell(id, "echo bundle; exit 5")))
    process = start("run", "--id", id, "--address", containerd.address, "--root", root_dir, tmp_path)
    assert finish(process) == (5, b"bundle\n", b"")


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_signal_goes_to_the_plugin(shared: Run, name: str) -> None:
    process = shared(f"trap 'echo got it; exit 9' {name}; echo ready; {TICK}")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert finish(process) == (9, b"got it\n", b"")


def test_the_third_signal_kills_a_plugin_that_ignores_them(shared: Run) -> None:
    process = shared(f"trap 'echo no' INT; echo ready; {TICK}")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"no\n"
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 137


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], b"give one bundle directory"),
        (["run", "one", "two"], b"give one bundle directory"),
        (["run", "--rootfs", "/"], b"give a command"),
        (["run", "--no-such-option"], b"--no-such-option"),
        (["run", "/no/such/bundle"], b"/no/such/bundle"),
        (["run", "--id", "a b", "--rootfs", "/", "true"], b"'a b'"),
        (["run", "--address", "/no/such/socket", "--rootfs", "/", "true"], b"/no/such/socket"),
        (["no-such-command"], b"no-such-command"),
    ],
)
def test_an_error_of_ours_is_125_and_says_what_was_wrong(start: Run, arguments: list[str], said: bytes) -> None:
    code, stdout, stderr = finish(start(*arguments))
    assert (code, stdout) == (125, b"")
    assert said in stderr
    assert b"Traceback" not in stderr


def test_a_command_that_is_not_there_is_named(shared: Run, containerd: Containerd, start: Run, rootfs: Path) -> None:
    code, _, stderr = finish(start("run", "--address", containerd.address, "--rootfs", rootfs, "no-such-command"))
    assert code == 125
    assert stderr.count(b"\n") == 1
    assert b"no-such-command" in stderr


def test_a_reader_that_goes_away_is_no_error(shared: Run) -> None:
    process = shared("echo first; seq 100000; exit 3")
    assert process.stdout
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == 3
    assert process.stderr
    assert process.stderr.read() == b""


def private_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "CONTAINERD_ADDRESS"}


def private_runs() -> list[Path]:
    return list(Path(DEFAULT_ROOT).glob("run-*"))


def private_processes() -> list[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])
    return [process for process in processes if f"{DEFAULT_ROOT}/run-" in " ".join(process.info["cmdline"] or [])]


def test_where_no_containerd_runs_a_private_one_does_for_as_long(start: Run, rootfs: Path) -> None:
    before = private_runs()
    arguments = ("run", "--rootfs", rootfs, "--", "sh", "-c", "echo hello; exit 4")
    processes = [start(*arguments, env=private_environment()) for _ in range(2)]
    for process in processes:
        code, stdout, stderr = finish(process)
        assert (code, stdout) == (4, b"hello\n")
        assert b"no containerd at /run/containerd/containerd.sock; a private one runs" in stderr
        assert stderr.count(b"\n") == 1
    assert private_runs() == before
    wait_until(lambda: not private_processes(), "the end of what they started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_plugin_runs_ends_the_command_and_leaves_nothing(
    start: Run, rootfs: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = private_runs()
    slow = tmp_path / "containerd"
    slow.write_text("#!/bin/sh\necho started >&2\nexec sleep 1000\n")
    slow.chmod(0o755)
    environment = private_environment() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = start("run", "--rootfs", rootfs, "true", env=environment)
    wait_until(lambda: psutil.Process(process.pid).children(recursive=True), "the start of the slow containerd")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    code, stdout, stderr = finish(process)
    assert (code, stdout, stderr) == (128 + number, b"", b"")
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert private_runs() == before


def test_version_and_help_tell_what_there_is(start: Run) -> None:
    assert finish(start("--help"))[1].count(b"run") > 0
    code, stdout, _ = finish(start("run", "--help"))
    assert code == 0
    for option in (b"--id", b"--root", b"--address", b"--rootfs", b"BUNDLE"):
        assert option in stdout
