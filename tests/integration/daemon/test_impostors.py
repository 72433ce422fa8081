"""Processes that only look like a private containerd, and what a start that cannot ask leaves alone.

Real: containerd, processes of other users and programs with its command line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pluginexec import Containerd, FailedPrecondition, PluginExecError, Unavailable
from pluginexec.daemon.files import DaemonFiles
from tests.support.harness import PATIENCE, wait_until

NOBODY = 65534


@pytest.fixture
def home(no_leaks: None) -> Iterator[Path]:
    """Where a containerd's files go; what runs there in the end is ended."""
    with tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as name:
        home = Path(name) / "d"
        yield home
        with Containerd(home):
            pass


@pytest.fixture
def impostors(home: Path) -> Iterator[list[int]]:
    """A process of another user with the right program, and one of ours with another; both have the right arguments."""
    config = str(DaemonFiles(home).config)
    argv = ["containerd", "-c", "echo up; read x", "containerd", "--config", config]
    with tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as name, contextlib.ExitStack() as ended:
        Path(name).chmod(0o755)
        program = shutil.copy(os.path.realpath("/bin/sh"), Path(name) / "containerd")
        pids = []
        for executable, user in ((program, NOBODY), ("/bin/sh", None)):
            process = subprocess.Popen(
                argv, executable=executable, user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert process.stdout
            ended.callback(process.communicate)
            ended.callback(process.kill)
            assert process.stdout.readline() == b"up\n"
            pids.append(process.pid)
        yield pids


def alive(pid: int) -> bool:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_an_impostor_is_neither_taken_for_it_nor_waited_for_nor_killed(home: Path, impostors: list[int]) -> None:
    assert list(DaemonFiles(home).processes()) == []
    containerd = Containerd(home)
    containerd.start()
    pid = containerd.pid
    assert pid not in (None, *impostors)
    containerd.leave()
    assert list(DaemonFiles(home).processes()) == [pid]
    again = Containerd(home)
    again.start()
    assert again.pid == pid
    again.stop()
    assert not psutil.pid_exists(pid or 0)
    assert all(map(alive, impostors))


def test_one_whose_program_an_upgrade_has_replaced_is_still_adopted(home: Path, tmp_path: Path) -> None:
    binary = Path(shutil.copy(shutil.which("containerd") or "", tmp_path / "containerd"))
    containerd = Containerd(home, binary=str(binary))
    containerd.start()
    pid = containerd.pid
    containerd.leave()
    binary.unlink()
    with Containerd(home) as again:
        assert again.pid == pid


def test_one_that_does_not_listen_yet_is_found_too(home: Path) -> None:
    home.mkdir()
    line = ["containerd", "-c", "echo up; read x", "containerd", "--config", str(DaemonFiles(home).config)]
    program = shutil.copy(os.path.realpath("/bin/sh"), home / "containerd")
    with subprocess.Popen(line, executable=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        assert list(DaemonFiles(home).processes()) == [process.pid]
        process.kill()


@pytest.fixture
def left(home: Path) -> int:
    """The pid of a containerd that was started and left."""
    containerd = Containerd(home)
    containerd.start()
    pid = containerd.pid
    containerd.leave()
    assert pid
    return pid


def files(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()}


def no_ctr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")


def no_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", fail)


def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(subprocess, "Popen", fail)


@pytest.mark.parametrize(
    ("take_away", "error"), [(no_ctr, FailedPrecondition), (no_pidfd, Unavailable), (no_process, Unavailable)]
)
def test_a_start_that_cannot_ask_leaves_a_healthy_one_alone(
    home: Path,
    left: int,
    monkeypatch: pytest.MonkeyPatch,
    take_away: Callable[[pytest.MonkeyPatch], None],
    error: type[PluginExecError],
) -> None:
    before = files(home)
    containerd = Containerd(home, timeout=0.5)
    with monkeypatch.context() as patch:
        take_away(patch)
        with pytest.raises(error):
            containerd.start()
    assert files(home) == before
    with Containerd(home) as again:
        assert again.pid == left


def test_a_stop_while_one_is_asked_leaves_it_alone(home: Path, left: int) -> None:
    containerd, errors = Containerd(home, timeout=PATIENCE), list[PluginExecError]()

    def start() -> None:
        try:
            containerd.start()
        except PluginExecError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    os.kill(left, signal.SIGSTOP)
    try:
        thread.start()
        wait_until(lambda: [each for each in psutil.Process().children() if each.pid != left], "the question")
        containerd.stop()
        thread.join(PATIENCE)
    finally:
        os.kill(left, signal.SIGCONT)
    assert "stopped as it started" in str(errors[0])
    with Containerd(home) as again:
        assert again.pid == left
