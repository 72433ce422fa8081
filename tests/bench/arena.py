"""Where the sides compete: one private containerd, one root file system, one cgroup that counts, and the executor."""

from __future__ import annotations

import itertools
import os
import random
import select
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pluginexec import Containerd, EventInfo, EventType, Executor, ExitStatus, default_spec
from pluginexec.testing.rootfs import make_rootfs
from tests.bench.meter import Meter, metered
from tests.support.harness import PATIENCE

BLOB_SIZE = 1 << 22
"""Bytes of the file that plugins print again and again; random, so that its order can be checked."""
_ROOM = 4 << 30
FOREVER = ("sleep", "1000000")
_numbers = itertools.count(1)


class Ends:
    """An exit handler that remembers when it was told, and by which event; ``times`` are of ``perf_counter``."""

    def __init__(self) -> None:
        self._told = threading.Condition()
        self.seen: Counter[str] = Counter()
        self.events: dict[str, float] = {}
        self.handled: dict[str, float] = {}
        self.codes: dict[str, int | None] = {}

    def event(self, id: str) -> None:
        """Note that the event of an exit has come."""
        self.events.setdefault(id, time.perf_counter())
        self.seen[id] += 1

    def told_at(self, id: str) -> float:
        """Return when an exit that was waited for became known; where the kernel told it first, no event counts."""
        return self.events.get(id, self.handled[id])

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Note an exit of ours."""
        self.told(id, status.exit_code)

    def told(self, id: str, code: int | None) -> None:
        """Note an exit, cleaned up."""
        with self._told:
            assert id not in self.handled, f"{id} has ended twice"
            self.handled[id] = time.perf_counter()
            self.codes[id] = code
            self._told.notify_all()

    def wait(self, *ids: str, code: int | None = 137) -> None:
        """Wait for the exits of all ``ids``, and see that their code is the one expected."""
        with self._told:
            done = self._told.wait_for(lambda: all(id in self.handled for id in ids), timeout=120)
        assert done, f"no exit of {[id for id in ids if id not in self.handled][:5]}"
        for id in ids:
            assert self.codes[id] == code, f"{id} ended with {self.codes[id]} and not with {code}"


class TimedExecutor(Executor):
    """The executor, with a clock at its door for events."""

    def __init__(self, root: Path, containerd: Containerd, ends: Ends) -> None:
        self.ends = ends
        self.stands = threading.Event()
        super().__init__(root, containerd.remote, ends)

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        """Note when an exit event came, and go on as ever."""
        if event_type is EventType.EXIT:
            self.ends.event(id)
        super().process_event(id, event_type, event_info)

    def events_connected(self) -> None:
        """Note that events come from now on."""
        super().events_connected()
        self.stands.set()


@dataclass
class Arena:
    """What the rows share."""

    directory: Path
    outputs: Path
    """Where large files go."""
    containerd: Containerd
    rootfs: Path
    meter: Meter
    executor: TimedExecutor
    ends: Ends
    blob: bytes = field(repr=False)

    def new_id(self) -> str:
        """Return an id that nothing else on this machine uses."""
        return f"b{os.getpid()}-{next(_numbers)}"

    @contextmanager
    def go(self) -> Iterator[None]:
        """Let plugins go that wait for the file ``/go``."""
        go = self.rootfs / "go"
        go.touch()
        try:
            yield
        finally:
            go.unlink()

    def spec(self, id: str, *args: str) -> dict[str, Any]:
        """Return the spec of a plugin, the same for every side."""
        return default_spec(self.rootfs, args or FOREVER, id=id)


@contextmanager
def arena() -> Iterator[Arena]:
    """Make an arena, and leave nothing of it."""
    directory = Path(tempfile.mkdtemp(prefix="px-bench-", dir="/tmp"))  # short: the path of a socket is
    try:
        blob = random.Random(5).randbytes(BLOB_SIZE)
        rootfs = make_rootfs(directory / "rootfs")
        (rootfs / "blob").write_bytes(blob)
        ends = Ends()
        with (
            tempfile.TemporaryDirectory(prefix="px-bench-", dir=_roomy(directory)) as outputs,
            metered() as meter,
            Containerd(directory / "containerd") as containerd,
            closing(TimedExecutor(directory / "root", containerd, ends)) as executor,
        ):
            assert executor.stands.wait(PATIENCE), "containerd's events do not come"
            try:
                yield Arena(directory, Path(outputs), containerd, rootfs, meter, executor, ends, blob)
            finally:
                _end_all(containerd)
    finally:
        shutil.rmtree(directory)


def _roomy(directory: Path) -> Path:
    """Return a file system in memory, if there is a large one: a disk's speed is not what is measured."""
    in_memory = Path("/dev/shm")
    return in_memory if in_memory.is_dir() and shutil.disk_usage(in_memory).free > _ROOM else directory


def _end_all(containerd: Containerd) -> None:
    """Delete what a row that failed has left, in every namespace."""
    for namespace in containerd.remote.new_client("default").namespaces():
        client = containerd.remote.new_client(namespace)
        for id in client.tasks():
            client.delete_task(id, force=True)
        for id in client.containers():
            client.delete_container(id)


def kill(pid: int) -> float:
    """SIGKILL a process, wait until the kernel says that it has ended, and return when it was sent.

    Not when the kernel said so: on a busy machine we may learn that later than the others learn of the exit.
    """
    pidfd = os.pidfd_open(pid)
    try:
        sent = time.perf_counter()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(10_000), f"{pid} does not end"
        return sent
    finally:
        os.close(pidfd)
