"""An executor in a process of its own that does what it is asked, one thing after the other, and tells of exits.

For faults that would hit the tests too, were they in one process with it: no more processes, or another clock.
``python -m tests.support.agent ROOT ADDRESS CTR`` reads a JSON list ``[operation, argument...]`` a line, and writes an
answer a line, with exits in between. It is less patient than an executor is, for the tests' sake.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pluginexec import Executor, ExitStatus, PluginExecError, Remote
from pluginexec.executor import executor
from pluginexec.streams import streams
from tests.support.harness import PATIENCE, Buffer, wait_until

REPOSITORY = Path(__file__).parents[2]


class Failed(Exception):
    """What the agent was asked for failed with an error of the tree; ``kind`` is the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Agent:
    """The parent's end."""

    def __init__(self, root: Path, remote: Remote, *, environment: Mapping[str, str] | None = None) -> None:
        argv = [sys.executable, "-m", "tests.support.agent", str(root), remote.address, remote.ctr]
        self._process = subprocess.Popen(
            argv,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self.exits: list[tuple[str, int | None, float]] = []
        """Id, exit code and time of each exit that its handler was told of."""
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="agent-reader")
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            answer = json.loads(line)
            if "exit" in answer:
                self.exits.append(tuple(answer["exit"]))
            else:
                self._answers.put(answer)

    def ask(self, operation: str, *arguments: object) -> Any:
        """Have something done; return its result, or raise ``Failed``."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([operation, *arguments]).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._answers.get(timeout=2 * PATIENCE)
        if "error" in answer:
            raise Failed(*answer["error"])
        return answer["done"]

    def codes(self, id: str) -> list[int | None]:
        """Return the exit codes that were told of an id."""
        return [code for told, code, _ in self.exits if told == id]

    def wait_for_exit(self, id: str) -> int | None:
        """Wait until the handler was told of an id; return the code."""
        wait_until(lambda: self.codes(id), f"the exit of {id}")
        return self.codes(id)[0]

    def end(self) -> None:
        """Let it close its executor and end; may be called again, and after it died."""
        with self._process:
            if self._process.stdin and not self._process.stdin.closed:
                self._process.stdin.close()
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()
                self._reader.join()


class _Desk:
    """The child's end: the operations by name."""

    def __init__(self, root: str, remote: Remote) -> None:
        self._lock = threading.Lock()
        self._buffers: dict[str, tuple[Buffer, Buffer]] = {}
        self._executor = Executor(root, remote, self)

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        self.say({"exit": [id, status.exit_code, status.exited_at.timestamp()]})

    def say(self, answer: dict[str, Any]) -> None:
        with self._lock:
            print(json.dumps(answer), flush=True)

    def create(self, id: str, spec: dict[str, Any]) -> None:
        self._buffers[id] = Buffer(), Buffer()
        self._executor.create(id, spec, *self._buffers[id])

    def restore(self, id: str) -> bool:
        self._buffers[id] = Buffer(), Buffer()
        return self._executor.restore(id, *self._buffers[id])

    def is_running(self, id: str) -> bool:
        return self._executor.is_running(id)

    def signal(self, id: str, number: int) -> None:
        self._executor.signal(id, number)

    def wait(self, id: str, timeout: float) -> int | None:
        return self._executor.wait(id, timeout).exit_code

    def exit_status(self, id: str) -> int | None:
        return self._executor.exit_status(id).exit_code

    def output(self, id: str) -> list[Any]:
        """Return what came from stdout and stderr, and how often each writer was closed."""
        return [(buffer.data.decode(), buffer.closings) for buffer in self._buffers[id]]

    def now(self) -> float:
        """Return the time of day as this process sees it."""
        return time.time()

    def close(self) -> None:
        self._executor.close()


def _sleep(seconds: Any) -> None:
    # libfaketime mistakes the monotonic clock of the real one's clock_nanosleep for the time of day.
    select.select([], [], [], seconds)


def main() -> None:
    """Do what stdin says, to its end."""
    root, address, ctr = sys.argv[1:]
    executor._RETRY_CLEANUP_AFTER = 0.5
    streams.DRAIN_IDLE = 2.0
    if "faketime" in os.environ.get("LD_PRELOAD", ""):
        time.sleep = _sleep
    desk = _Desk(root, Remote(address, ctr=ctr))
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        method: Callable[..., Any] = getattr(desk, operation)
        try:
            desk.say({"done": method(*arguments)})
        except PluginExecError as error:
            desk.say({"error": [type(error).__name__, str(error)]})
    desk.close()


if __name__ == "__main__":
    main()
