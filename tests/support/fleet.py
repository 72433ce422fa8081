"""Plugins of several kinds, each with what it prints and the code it ends with: what must come out is known."""

from __future__ import annotations

import os
import platform
import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pluginexec import Executor
from tests.support.harness import PATIENCE, Buffer, Exits, wait_until

KERNEL_TELLS_CODES = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2]) >= (6, 15)
MORTAL_KINDS = ("short", "talkative", "quiet")
KINDS = (*MORTAL_KINDS, "forever")
FIRST, LAST = 10_001, 30_000
NUMBERS = b"".join(b"%d\n" % number for number in range(FIRST, LAST + 1))


class Member:
    """One plugin, and its sinks.

    ``short`` ends at once; ``talkative`` prints 120 kB with a pause in the middle, in which ``quiet`` says nothing;
    ``forever`` ends on SIGTERM only.
    """

    def __init__(self, kind: str, id: str, dice: random.Random, *, longest: float = 1.0) -> None:
        self.kind = kind
        self.id = id
        self.code = dice.randrange(1, 128)
        self.pause = dice.uniform(0.1, longest)
        self.stdout, self.stderr = Buffer(), Buffer()
        self.pid = 0

    @property
    def script(self) -> str:
        """What it runs."""
        end = f"echo over >&2; exit {self.code}"
        half = (FIRST + LAST) // 2
        return {
            "short": f"echo short; {end}",
            "talkative": f"seq {FIRST} {half}; sleep {self.pause:.2f}; seq {half + 1} {LAST}; {end}",
            "quiet": f"sleep {self.pause:.2f}; {end}",
            "forever": f"trap 'echo down; {end}' TERM; echo up; while :; do sleep 0.05; done",
        }[self.kind]

    @property
    def expected(self) -> bytes:
        """Return what it prints to its stdout, if nothing ends it before its time."""
        return {"short": b"short\n", "talkative": NUMBERS, "quiet": b"", "forever": b"up\ndown\n"}[self.kind]

    def create(self, executor: Executor, shell: Callable[..., dict[str, Any]]) -> None:
        """Start it; one that lives for ever is waited for until it listens to SIGTERM."""
        executor.create(self.id, shell(self.id, self.script), self.stdout, self.stderr)
        if self.kind == "forever":
            self.pid = executor._table.get(self.id).pid
            wait_until(lambda: self.stdout.data == b"up\n", f"{self.id} to be up")

    def check(self, exits: Exits, *codes: int | None) -> None:
        """Check that one exit was told, with its code or one of those given, and that all of its output came."""
        self.check_exit(exits, *codes)
        assert self.stdout.data == self.expected
        assert self.stderr.data == b"over\n"
        assert (self.stdout.closings, self.stderr.closings) == (1, 1)

    def check_exit(self, exits: Exits, *codes: int | None) -> None:
        """Check that one exit was told, with its code or one of those given."""
        wait_until(lambda: self.id in exits.ids, f"the exit of {self.kind} {self.id}", 2 * PATIENCE)
        told = [status.exit_code for id, status in exits.wait_for(0) if id == self.id]
        assert len(told) == 1, f"{self.kind} {self.id} has {len(told)} exits"
        assert told[0] in (codes or (self.code,)), f"{self.kind} {self.id} ended with {told[0]}"


def signal_stream(executor: Executor, number: int) -> int | None:
    """Send a signal to the ``ctr events`` of an executor, if there is one at this moment."""
    assert executor._events
    child = executor._events._child
    if child is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(child.pid, number)
    return child.pid


def processes_of(id: str, *names: str) -> list[psutil.Process]:
    """Return what lives of a plugin's loggers, or of those with one of the names: the shim gives them its id."""
    found = []
    for process in psutil.process_iter():
        try:
            is_its = process.environ().get("CONTAINER_ID") == id and (not names or process.name() in names)
            if is_its and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_nothing_left(executor: Executor, *ids: str) -> None:
    """Check that containerd, the runtime and the processes know nothing of plugins that are over, and nor do files."""
    client = executor._client
    wait_until(lambda: not set(ids) & {*client.containers(), *client.tasks()}, "the deletion in containerd")
    for id in ids:
        wait_until(lambda: not processes_of(id), f"the end of what copied for {id}")  # noqa: B023
        left = [path.name for path in executor._root.plugin(id).directory.glob("*")]
        assert left in ([], ["exit.json"])
        assert not (executor._root.runtime_root / client.namespace / id).exists()
        assert not list(Path("/sys/fs/cgroup").glob(f"*/pluginexec/{id}"))
