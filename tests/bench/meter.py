"""The CPU time of us and of all that we start, wherever its parents have gone: a cgroup of our own counts it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pluginexec.linux.cgroups import cpu_used

_MOUNT = Path("/sys/fs/cgroup")
_V1 = "cpuacct"
_EMPTY_WITHIN = 5.0


class Meter:
    """Reads what a cgroup has used."""

    def __init__(self, group: Path) -> None:
        self._group = group

    def read(self) -> float:
        """Return the seconds of CPU time so far: ours, containerd's, the shims', loggers' and all commands'.

        A plugin's own is not in it: runc puts that into a cgroup of its own.
        """
        used = cpu_used(f"/{self._group.name}")
        assert used is not None, f"the cgroup {self._group} counts no CPU time"
        return used / 1e9

    def pids(self) -> set[int]:
        """Return all processes that are counted."""
        return set(map(int, (self._group / "cgroup.procs").read_text().split()))


@contextmanager
def metered() -> Iterator[Meter]:
    """Put this process, and all that it starts, into a cgroup that counts; take it out in the end."""
    hierarchy = _MOUNT / _V1 if (_MOUNT / _V1).is_dir() else _MOUNT
    home = hierarchy / _own_path(hierarchy).lstrip("/")
    group = hierarchy / f"pluginexec-bench-{os.getpid()}"
    group.mkdir()
    try:
        _join(group)
        yield Meter(group)
    finally:
        _join(home)
        _remove(group)


def _own_path(hierarchy: Path) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (_V1 in controllers.split(",")) if hierarchy.name == _V1 else not controllers:
            return path
    return "/"


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove(group: Path) -> None:
    """Remove the cgroup when the last process in it, a shim perhaps, has gone."""
    deadline = time.monotonic() + _EMPTY_WITHIN
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
