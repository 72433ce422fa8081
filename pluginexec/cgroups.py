"""A plugin's cgroups: ask the kernel whether its OOM killer ended a process in them, and remove what is left of them.

containerd's ``/tasks/oom`` event can come after the exit event; the cgroup's own counter, which is there until the
task is deleted, cannot be late.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_killed(cgroups_path: str) -> bool | None:
    """Return whether a process of this cgroup was killed for memory; ``None`` if that cannot be found out.

    ``cgroups_path`` is the spec's ``linux.cgroupsPath``; one that is not absolute is relative to something that only
    the runtime knows.
    """
    if not cgroups_path.startswith("/"):
        return None
    relative = os.path.normpath(cgroups_path).lstrip("/")
    # cgroup v1, then v2.
    for file in (_MOUNT / "memory" / relative / "memory.oom_control", _MOUNT / relative / "memory.events"):
        try:
            found = _OOM_KILLS.search(file.read_text(encoding="ascii"))
        except (OSError, ValueError):  # a path may hold what no path can, such as a NUL
            continue
        return int(found[1]) > 0 if found else None
    return None


def remove_cgroups(cgroups_path: str) -> None:
    """Remove the empty cgroups that are left of a container whose runtime has lost its state, and cannot do it."""
    relative = os.path.normpath(cgroups_path).lstrip("/")
    if not cgroups_path.startswith("/") or not relative:
        return
    # cgroup v2, then each hierarchy of v1.
    for hierarchy in (_MOUNT, *_MOUNT.iterdir()):
        with contextlib.suppress(OSError, ValueError):
            (hierarchy / relative).rmdir()
