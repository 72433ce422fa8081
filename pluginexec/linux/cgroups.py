"""A plugin's cgroups: what the kernel counts in them, whether they are frozen, and removing what is left of them.

Where a plugin is, the kernel tells: a ``linux.cgroupsPath`` may be relative to something that only the runtime knows,
or be systemd's ``slice:prefix:name``. Each question knows the files of cgroup v1 and of v2.

containerd's ``/tasks/oom`` event can come after the exit event; the cgroup's own counter, which is there until the
task is deleted, cannot be late.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pluginexec.linux.mounts import roots_of

CgroupPath: TypeAlias = str | Mapping[str, str]
"""Where a cgroup is: an absolute path, the same in every hierarchy; or the path for each controller, "" for v2."""

_MOUNT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_V2 = ("", "unified")
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


def cgroup_of(pid: int, spec: Mapping[str, Any]) -> CgroupPath:
    """Return the cgroup of the plugin that has this init process and spec; what the spec asked for if it has ended."""
    asked = cgroups_path_of(spec)
    above = f"{os.path.normpath(asked)}/"
    paths: dict[str, str] = {}
    for controllers, path in _listed(pid):
        # A plugin such as systemd moves itself into a cgroup below the one that it was given.
        place = asked if asked.startswith("/") and f"{path}/".startswith(above) else path
        names = [name.removeprefix("name=") for name in controllers.split(",")]
        # Where v1 is in use, v2 is mounted beside its hierarchies.
        paths.update(dict.fromkeys(names if controllers else _V2, place))
    return paths or asked


def recorded_cgroup(state: Path) -> CgroupPath:
    """Return the cgroup that runc has recorded in a container's ``state.json``; "" if it is not there.

    Of a plugin that has ended the kernel tells nothing, and its spec may have asked for a relative one.
    """
    try:
        places = json.loads(state.read_bytes())["cgroup_paths"].items()
        # "/sys/fs/cgroup/memory/x" in v1, "/sys/fs/cgroup/x" in v2, whose name is "".
        parts = [(name, Path(place).relative_to(_MOUNT).parts) for name, place in places]
        return {name: "/" + "/".join(inside[1:] if name else inside) for name, inside in parts}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _listed(pid: int) -> Iterator[tuple[str, str]]:
    """Yield the controllers of each hierarchy, "" for v2, and where a process is in it, from the mount point on."""
    try:
        text = (_PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # it has ended
        return
    for line in text.split("\n"):
        if line.count(":") >= 2:
            _, controllers, path = line.split(":", 2)
            for root in _mounted_roots():  # we are in a container without a cgroup namespace
                path = path.removeprefix(root) if path.startswith(f"{root}/") else path
            # In v1, a process that has ended and was not reaped yet is listed in the root.
            if path != "/":
                yield controllers, path


@functools.cache
def _mounted_roots() -> set[str]:
    return roots_of("cgroup", "cgroup2") - {"/"}


def oom_killed(cgroup: CgroupPath) -> bool | None:
    """Return whether a process of this cgroup was killed for memory; ``None`` if that cannot be found out."""
    _, text = _read(cgroup, "memory/memory.oom_control", "memory.events")
    found = _OOM_KILLS.search(text)
    return int(found[1]) > 0 if found else None


def is_paused(cgroup: CgroupPath) -> bool | None:
    """Return whether this cgroup is frozen; ``None`` if that cannot be found out, as when the plugin has ended."""
    version, text = _read(cgroup, "freezer/freezer.state", "cgroup.events")
    if not version:
        return None
    return text.strip() == "FROZEN" if version == 1 else _FROZEN.search(text) is not None


def thaw(cgroup: CgroupPath) -> None:
    """Let the processes of this cgroup go on; nothing happens if they are not frozen, or there is no such cgroup."""
    for hierarchy, name, text in (("freezer", "freezer.state", "THAWED"), ("", "cgroup.freeze", "0")):
        with contextlib.suppress(OSError, ValueError):
            if directory := _directory(cgroup, hierarchy):
                with (directory / name).open("r+", encoding="ascii") as opened:
                    opened.write(text)


def cpu_used(cgroup: CgroupPath) -> int | None:
    """Return the nanoseconds of CPU time that this cgroup has used."""
    version, text = _read(cgroup, "cpuacct/cpuacct.usage", "cpu.stat")
    if version == 1:
        return _number(text)
    microseconds = _field(text, "usage_usec")
    return None if microseconds is None else microseconds * 1000


def memory_used(cgroup: CgroupPath) -> int | None:
    """Return the bytes of memory in use, as docker counts them: without files that could be dropped at once."""
    version, text = _read(cgroup, "memory/memory.usage_in_bytes", "memory.current")
    used = _number(text)
    if used is None:
        return None
    _, text = _read(cgroup, "memory/memory.stat", "memory.stat")
    inactive = _field(text, _INACTIVE[version]) or 0
    return used - inactive if inactive < used else used


def memory_limit(cgroup: CgroupPath) -> int | None:
    """Return the bytes of memory that may be used; ``None`` for no limit (v1 then shows a number beyond all memory)."""
    return _number(_read(cgroup, "memory/memory.limit_in_bytes", "memory.max")[1])


def pids_used(cgroup: CgroupPath) -> int | None:
    """Return how many processes and threads there are."""
    return _number(_read(cgroup, "pids/pids.current", "pids.current")[1])


def pids_limit(cgroup: CgroupPath) -> int | None:
    """Return how many processes and threads there may be; ``None`` for no limit."""
    return _number(_read(cgroup, "pids/pids.max", "pids.max")[1])


def block_io(cgroup: CgroupPath) -> tuple[int, int] | None:
    """Return the bytes read from and written to block devices."""
    version, text = _read(cgroup, "blkio/blkio.throttle.io_service_bytes_recursive", "io.stat")
    if not version:
        return None
    # "8:0 Read 4096" a line, or "8:0 rbytes=4096 wbytes=0 ..." a line; v1 ends with a total, which has no device.
    read, written = (r" Read (\d+)$", r" Write (\d+)$") if version == 1 else (r" rbytes=(\d+)", r" wbytes=(\d+)")
    return _sum(read, text), _sum(written, text)


def remove_cgroups(cgroup: CgroupPath) -> None:
    """Remove the empty cgroups that are left of a container whose runtime has lost its state, and cannot do it."""
    # cgroup v2, then each hierarchy of v1.
    for hierarchy in ("", *os.listdir(_MOUNT)):
        with contextlib.suppress(OSError, ValueError):
            if directory := _directory(cgroup, hierarchy):
                directory.rmdir()


def _read(cgroup: CgroupPath, v1: str, v2: str) -> tuple[int, str]:
    """Return the cgroup version and the text of a file, ``v1`` after its hierarchy; version 0 where it is not there."""
    hierarchy, _, name = v1.partition("/")
    for version, file, directory in ((1, name, _directory(cgroup, hierarchy)), (2, v2, _directory(cgroup, ""))):
        # A path may hold what no path can, such as a NUL.
        with contextlib.suppress(OSError, ValueError):
            if directory:
                return version, (directory / file).read_text(encoding="ascii")
    return 0, ""


def _directory(cgroup: CgroupPath, hierarchy: str) -> Path | None:
    """Return the directory of a cgroup in one hierarchy, "" for v2; ``None`` if it is not known, or the root."""
    path = cgroup if isinstance(cgroup, str) else cgroup.get(hierarchy, "")
    relative = os.path.normpath(path).lstrip("/")
    return _MOUNT / hierarchy / relative if path.startswith("/") and relative else None


def _number(text: str) -> int | None:
    """Return the number that is the whole of a file; ``None`` for another word, such as "max"."""
    word = text.strip()
    return int(word) if word.isdigit() else None


def _field(text: str, name: str) -> int | None:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _sum(pattern: str, text: str) -> int:
    return sum(int(number) for number in re.findall(pattern, text, re.MULTILINE))
