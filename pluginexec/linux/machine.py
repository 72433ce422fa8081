"""What this machine is and has: facts that are read, and never changed."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from pluginexec.linux.directories import is_there

_CGROUPS = Path("/sys/fs/cgroup")
_FLOCK = re.compile(r"FLOCK +ADVISORY +(READ|WRITE) +(-?[0-9]+) +([0-9a-f]+):([0-9a-f]+):([0-9]+) ")


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock; ``exclusive`` if no other process can."""

    pid: int
    name: str
    exclusive: bool


def kernel_version(release: str) -> tuple[int, int]:
    """Return the first two numbers of a kernel's release; zeros for one that is not understood."""
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def cgroup_version(mount: Path = _CGROUPS) -> int:
    """Return 1 or 2; 0 where no cgroups are mounted. A v2 beside v1's hierarchies has no controllers: that is 1."""
    if (mount / "cgroup.controllers").exists():
        return 2
    return 1 if cgroup_controllers(mount) else 0


def cgroup_controllers(mount: Path = _CGROUPS) -> set[str]:
    """Return the controllers that can be used."""
    try:
        # The freezer of v2 is part of it, and not listed.
        return {*(mount / "cgroup.controllers").read_text(encoding="ascii").split(), "freezer"}
    except OSError:
        pass
    try:
        hierarchies = {entry.name for entry in mount.iterdir() if (entry / "cgroup.procs").exists()}
    except OSError:
        return set()
    # Two of v1 may share a hierarchy, such as "cpu,cpuacct".
    return {name for each in hierarchies - {"systemd", "unified"} for name in each.split(",")}


def capabilities(pid: str = "self") -> int:
    """Return the effective capabilities of a process, a bit for each."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", text, re.MULTILINE)
    return int(found[1], 16) if found else 0


def has_seccomp(proc: Path = Path("/proc")) -> bool:
    """Return whether the kernel can filter system calls."""
    with contextlib.suppress(OSError):
        status = (proc / "self/status").read_text(encoding="utf-8", errors="replace")
        # The second needs CONFIG_SECCOMP_FILTER, and Linux 4.14.
        return "\nSeccomp:" in status and (proc / "sys/kernel/seccomp/actions_avail").exists()
    return False


def existing_parent(path: Path) -> Path:
    """Return the path, or the nearest directory above it that is there."""
    return next((each for each in (path, *path.parents) if each.exists()), Path("/"))


def file_system(path: Path) -> str:
    """Return the type of the file system that a path is on, empty if it is not known."""
    best = ""
    kind = ""
    for partition in psutil.disk_partitions(all=True):
        point = Path(partition.mountpoint)
        # Of several on one point the last is on top.
        if (point == path or point in path.parents) and len(partition.mountpoint) >= len(best):
            best, kind = partition.mountpoint, partition.fstype
    return kind


def lock_holders(path: Path) -> list[Holder]:
    """Return who holds the lock (``flock``) on a file; those of other pid namespaces are left out.

    Raises as ``is_there``.
    """
    if not is_there(path):
        return []
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    wanted = (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    found = (_FLOCK.search(line) for line in lines if "->" not in line)  # those only wait for it
    return [
        Holder(int(each[2]), _name(int(each[2])), each[1] == "WRITE")
        for each in found
        if each and (int(each[3], 16), int(each[4], 16), int(each[5])) == wanted and int(each[2]) > 0
    ]


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "?"


def listens(path: Path) -> bool:
    """Return whether a process receives what is sent to a datagram socket, such as that of ``pluginexec serve``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except (OSError, ValueError):
            return False
    return True
