"""An executor in a process of its own, that does what it is told, writes down what happens, and may be killed.

``python -m tests.support.worker ROOT ADDRESS CTR JOURNAL STEPS``; ``STEPS`` is JSON: ``[[operation, argument...]...]``.
The journal gets one JSON list a line, each written at once: what was written before the death stays written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from pluginexec import Executor, ExitStatus, PluginExecError, Remote
from pluginexec.streams.sinks import Sink
from tests.support.harness import PATIENCE, wait_until

REPOSITORY = Path(__file__).parents[2]
Entry = list[Any]


class FileWriter:
    """A writer that appends each chunk to a file at once, after a pause."""

    def __init__(self, path: str | os.PathLike[str], pause: float = 0.0) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._pause = pause

    def write(self, data: bytes, /) -> int | None:
        """Append; may take a part."""
        time.sleep(self._pause)
        return os.write(self._descriptor, data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Journal:
    """A file to which each entry is appended in one write."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, *entry: object) -> None:
        """Append one entry."""
        os.write(self._descriptor, (json.dumps(entry) + "\n").encode())

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Write down an exit."""
        self.note("exit", id, status.pid, status.exit_code)


def sink(description: Any) -> Sink:
    """Make a sink of its description: ``None``, ``["path", PATH]``, or ``["writer", PATH, PAUSE]``."""
    if description is None:
        return None
    kind, path, *pause = description
    return str(path) if kind == "path" else FileWriter(path, *pause)


def perform(executor: Executor, operation: str, id: str, arguments: list[Any]) -> object:
    """Perform one step; return what is worth noting."""
    if operation == "create":
        spec, stdout, stderr = arguments
        executor.create(id, spec, sink(stdout), sink(stderr))
        return None
    if operation == "restore":
        stdout, stderr = arguments
        return executor.restore(id, sink(stdout), sink(stderr))
    if operation == "wait":
        return executor.wait(id, PATIENCE).exit_code
    if operation == "stop":
        return executor.stop(id, 0).exit_code
    executor.close()
    return None


def main() -> None:
    """Do the steps, then wait for the end that somebody else makes."""
    root, address, ctr, path, steps = sys.argv[1:]
    journal = Journal(path)
    executor = Executor(root, Remote(address, ctr=ctr), journal)
    for operation, id, *arguments in json.loads(steps):
        journal.note(operation, id)
        try:
            journal.note("done", operation, id, perform(executor, operation, id, arguments))
        except PluginExecError as error:
            journal.note("failed", operation, id, type(error).__name__, str(error))
    journal.note("idle")
    threading.Event().wait()


class Worker:
    """The parent's end of a worker."""

    def __init__(self, root: Path, remote: Remote, journal: Path, steps: list[list[Any]]) -> None:
        arguments = [str(root), remote.address, remote.ctr, str(journal), json.dumps(steps)]
        journal.touch()
        self._journal = journal
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.worker", *arguments], cwd=REPOSITORY, stdin=subprocess.DEVNULL
        )
        self.pid = self._process.pid

    @property
    def entries(self) -> list[Entry]:
        """What it has written down so far."""
        return [json.loads(line) for line in self._journal.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    def await_entry(self, *start: object) -> None:
        """Wait until it has written an entry that starts like this."""

        def is_there() -> bool:
            assert self._process.poll() is None, f"the worker ended by itself: {self.entries}"
            return any(entry[: len(start)] == list(start) for entry in self.entries)

        wait_until(is_there, f"{start} in the journal")

    def exits(self, id: str) -> list[tuple[int, int | None]]:
        """Return pid and code of each exit of a plugin that its handler was told of."""
        return [(entry[2], entry[3]) for entry in self.entries if entry[:2] == ["exit", id]]

    def children(self) -> list[psutil.Process]:
        """Return the processes below it."""
        return psutil.Process(self.pid).children(recursive=True) if self._process.poll() is None else []

    def wait(self) -> None:
        """Wait for its end, which a command that it runs will make."""
        self._process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL it; may be called again."""
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    main()
