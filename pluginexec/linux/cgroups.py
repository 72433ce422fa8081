"""A plugin's cgroups: what the kernel counts in them, whether they are frozen, and removing what is left of them.

``cgroups_path`` is the spec's ``linux.cgroupsPath``; nothing is known of one that is not absolute, because that is
relative to something that only the runtime knows. Each question knows the files of cgroup v1 and of v2.

containerd's ``/tasks/oom`` event can come after the exit event; the cgroup's own counter, which is there until the
task is deleted, cannot be late.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MOUNT = Path("/sys/fs/cgroup")
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_FROZEN = re.compile(r"^frozen 1$", re.MULTILINE)
_INACTIVE = {1: "total_inactive_file", 2: "inactive_file"}


def default_cgroups_path(id: str) -> str:
    """Return the cgroup of a plugin that asks for no other: the same id shares it, on every containerd."""
    return f"/pluginexec/{id}"


def cgroups_path_of(spec: Mapping[str, Any]) -> str:
    """Return a spec's ``linux.cgroupsPath``, empty if it has none."""
    linux = spec.get("linux")
    path = linux.get("cgroupsPath") if isinstance(linux, dict) else None
    return path if isinstance(path, str) else ""


def oom_killed(cgroups_path: str) -> bool | None:
    """Return whether a process of this cgroup was killed for memory; ``None`` if that cannot be found out."""
    _, text = _read(cgroups_path, "memory/memory.oom_control", "memory.events")
    found = _OOM_KILLS.search(text)
    return int(found[1]) > 0 if found else None


def is_paused(cgroups_path: str) -> bool | None:
    """Return whether this cgroup is frozen; ``None`` if that cannot be found out, as when the plugin has ended."""
    version, text = _read(cgroups_path, "freezer/freezer.state", "cgroup.events")
    if not version:
        return None
    return text.strip() == "FROZEN" if version == 1 else _FROZEN.search(text) is not None


def thaw(cgroups_path: str) -> None:
    """Let the processes of this cgroup go on; nothing happens if they are not frozen, or there is no such cgroup."""
    if relative := _relative(cgroups_path):
        for file, text in (
            (_MOUNT / "freezer" / relative / "freezer.state", "THAWED"),
            (_MOUNT / relative / "cgroup.freeze", "0"),
        ):
            with contextlib.suppress(OSError, ValueError), file.open("r+", encoding="ascii") as opened:
                opened.write(text)


def cpu_used(cgroups_path: str) -> int | None:
    """Return the nanoseconds of CPU time that this cgroup has used."""
    version, text = _read(cgroups_path, "cpuacct/cpuacct.usage", "cpu.stat")
    if version == 1:
        return _number(text)
    microseconds = _field(text, "usage_usec")
    return None if microseconds is None else microseconds * 1000


def memory_used(cgroups_path: str) -> int | None:
    """Return the bytes of memory in use, as docker counts them: without files that could be dropped at once."""
    version, text = _read(cgroups_path, "memory/memory.usage_in_bytes", "memory.current")
    used = _number(text)
    if used is None:
        return None
    _, text = _read(cgroups_path, "memory/memory.stat", "memory.stat")
    inactive = _field(text, _INACTIVE[version]) or 0
    return used - inactive if inactive < used else used


def memory_limit(cgroups_path: str) -> int | None:
    """Return the bytes of memory that may be used; ``None`` for no limit (v1 then shows a number beyond all memory)."""
    return _number(_read(cgroups_path, "memory/memory.limit_in_bytes", "memory.max")[1])


def pids_used(cgroups_path: str) -> int | None:
    """Return how many processes and threads there are."""
    return _number(_read(cgroups_path, "pids/pids.current", "pids.current")[1])


def pids_limit(cgroups_path: str) -> int | None:
    """Return how many processes and threads there may be; ``None`` for no limit."""
    return _number(_read(cgroups_path, "pids/pids.max", "pids.max")[1])


def block_io(cgroups_path: str) -> tuple[int, int] | None:
    """Return the bytes read from and written to block devices."""
    version, text = _read(cgroups_path, "blkio/blkio.throttle.io_service_bytes_recursive", "io.stat")
    if not version:
        return None
    # "8:0 Read 4096" a line, or "8:0 rbytes=4096 wbytes=0 ..." a line; v1 ends with a total, which has no device.
    read, written = (r" Read (\d+)$", r" Write (\d+)$") if version == 1 else (r" rbytes=(\d+)", r" wbytes=(\d+)")
    return _sum(read, text), _sum(written, text)


def remove_cgroups(cgroups_path: str) -> None:
    """Remove the empty cgroups that are left of a container whose runtime has lost its state, and cannot do it."""
    relative = _relative(cgroups_path)
    if not relative:
        return
    # cgroup v2, then each hierarchy of v1.
    for hierarchy in (_MOUNT, *_MOUNT.iterdir()):
        with contextlib.suppress(OSError, ValueError):
            (hierarchy / relative).rmdir()


def _relative(cgroups_path: str) -> str:
    """Return where a cgroup lies below a hierarchy; empty for a path that is not absolute, or is the root's."""
    return os.path.normpath(cgroups_path).lstrip("/") if cgroups_path.startswith("/") else ""


def _read(cgroups_path: str, v1: str, v2: str) -> tuple[int, str]:
    """Return the cgroup version and the text of a file, ``v1`` after its hierarchy; version 0 where it is not there."""
    if not cgroups_path.startswith("/"):
        return 0, ""
    relative = os.path.normpath(cgroups_path).lstrip("/")
    hierarchy, _, name = v1.partition("/")
    for version, file in ((1, _MOUNT / hierarchy / relative / name), (2, _MOUNT / relative / v2)):
        # A path may hold what no path can, such as a NUL.
        with contextlib.suppress(OSError, ValueError):
            return version, file.read_text(encoding="ascii")
    return 0, ""


def _number(text: str) -> int | None:
    """Return the number that is the whole of a file; ``None`` for another word, such as "max"."""
    word = text.strip()
    return int(word) if word.isdigit() else None


def _field(text: str, name: str) -> int | None:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _sum(pattern: str, text: str) -> int:
    return sum(int(number) for number in re.findall(pattern, text, re.MULTILINE))
