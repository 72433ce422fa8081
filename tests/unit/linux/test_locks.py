"""Locks, and the forked children of their holder. Real: the locks, and the forks, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pluginexec.linux.locks import await_lock, release_lock, take_lock
from tests.support.harness import PATIENCE
from tests.support.probe import environment

FORKS = """
import os, signal, sys
from pathlib import Path
from pluginexec.linux.locks import release_lock, take_lock

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
path = Path(sys.argv[1])
lock = take_lock(path)
assert lock is not None
ready, is_ready = os.pipe()
if os.fork() == 0:
    if sys.argv[2] == "release":
        release_lock(lock)
    os.write(is_ready, b"x")
    sys.stdin.read()  # for as long as the test wants
    os._exit(0)
os.read(ready, 1)
print("forked", flush=True)
signal.sigwait([signal.SIGUSR1])
release_lock(lock)
print("released", flush=True)
os.read(ready, 1)  # until it is killed
"""


class Holder:
    """A process that holds a lock, and has a child that lives on."""

    def __init__(self, path: Path, in_child: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS, str(path), in_child],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        self.await_line(b"forked\n")

    def await_line(self, line: bytes) -> None:
        assert self._process.stdout
        assert self._process.stdout.readline() == line

    def release(self) -> None:
        self._process.send_signal(signal.SIGUSR1)
        self.await_line(b"released\n")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE)

    def close(self) -> None:
        """Kill it; its child ends with the pipe, and with it the other pipe."""
        self.kill()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.read()
        self._process.stdout.close()


@pytest.mark.parametrize("end", [Holder.release, Holder.kill])
def test_a_child_that_lives_on_does_not_hold_what_its_parent_held(tmp_path: Path, end: object) -> None:
    assert callable(end)
    holder = Holder(tmp_path / "lock")
    try:
        assert take_lock(tmp_path / "lock") is None
        end(holder)
        lock = await_lock(tmp_path / "lock", PATIENCE)
        assert lock is not None
        release_lock(lock)
    finally:
        holder.close()


def test_a_child_does_not_release_what_its_parent_holds(tmp_path: Path) -> None:
    holder = Holder(tmp_path / "lock", "release")
    try:
        assert take_lock(tmp_path / "lock") is None
        holder.release()
        lock = take_lock(tmp_path / "lock")
        assert lock is not None
        release_lock(lock)
    finally:
        holder.close()


def test_a_released_lock_is_free_though_a_copy_of_its_descriptor_is_open(tmp_path: Path) -> None:
    lock = take_lock(tmp_path / "lock")
    assert lock is not None
    copy = os.dup(lock)  # as a child that is being made has one
    release_lock(lock)
    again = take_lock(tmp_path / "lock")
    os.close(copy)
    assert again is not None
    release_lock(again)
