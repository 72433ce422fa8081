"""What the tests share: a writer and an exit handler that remember, waiting for a condition, counting what is held."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from pluginexec import ExitStatus

PATIENCE = float(os.environ.get("PLUGINEXEC_PATIENCE", "30"))
"""Seconds that a condition may take to become true on a busy machine; the negative controls wait for less."""


def wait_until(condition: Callable[[], object], what: str = "the condition", timeout: float = PATIENCE) -> None:
    """Wait for a condition, and fail with its name if it does not come true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout:g} s")
        time.sleep(0.005)


def suspend(process: psutil.Process | int) -> psutil.Process:
    """SIGSTOP a process, and return when all its threads have stopped: some go on for 19 ms after the signal."""
    process = psutil.Process(process) if isinstance(process, int) else process
    process.suspend()
    tasks = Path(f"/proc/{process.pid}/task")
    wait_until(lambda: all(_is_stopped(task) for task in tasks.iterdir()), "the stop of all threads")
    return process


def _is_stopped(task: Path) -> bool:
    try:
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return True
    return state in ("T", "t")


class Buffer:
    """A writer that keeps what it gets and counts its closings."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.closings = 0
        self.closed = threading.Event()

    def write(self, data: bytes, /) -> int | None:
        """Keep a chunk; after the end there must be none."""
        assert not self.closings, "written to after it was closed"
        self._chunks.append(data)
        return None

    def close(self) -> None:
        """Count."""
        self.closings += 1
        self.closed.set()

    @property
    def data(self) -> bytes:
        """All that was written so far."""
        return b"".join(self._chunks)


class Gate(Buffer):
    """A writer that blocks until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def write(self, data: bytes, /) -> int | None:
        """Wait, then keep."""
        self.entered.set()
        assert self.let_go.wait(PATIENCE)
        return super().write(data)


class Exits:
    """An exit handler that remembers in which order it was told what."""

    def __init__(self) -> None:
        self._told = threading.Condition()
        self._exits: list[tuple[str, ExitStatus]] = []

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Remember."""
        with self._told:
            self._exits.append((id, status))
            self._told.notify_all()

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[tuple[str, ExitStatus]]:
        """Return all exits once there are at least ``count``."""
        with self._told:
            if not self._told.wait_for(lambda: len(self._exits) >= count, timeout):
                raise AssertionError(f"{len(self._exits)} of {count} exits within {timeout:g} s")
            return list(self._exits)

    @property
    def ids(self) -> list[str]:
        """The ids of the exits told so far."""
        with self._told:
            return [id for id, _ in self._exits]


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal; without one, the first of a container ignores it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), 16)
    return bool(caught >> (number - 1) & 1)


def held_descriptors() -> dict[int, str]:
    """Return this process's file descriptors and what they stand for."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:
            continue  # the one that iterdir itself used
    return found


def live_children() -> set[psutil.Process]:
    """Return the processes that are ours and live; zombies are reaped on the way."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # none at all: psutil would take 24 ms of CPU to say so
        return set()
    return {child for child in psutil.Process().children(recursive=True) if lives(child)}


def lives(process: psutil.Process) -> bool:
    """Return whether a process has not ended; a zombie has."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def our_threads() -> set[str]:
    """Return the names of the package's threads that run."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("pluginexec-")}
