"""Mount and unmount, and find what is mounted."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from pluginexec.linux import libc

MS_BIND = 4096
MS_REC = 16384
MS_SHARED = 1 << 20
MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
# The kernel writes blanks, backslashes and line ends in a path as \040 and the like.
_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount_points_below(directory: Path) -> list[str]:
    """Return where something is mounted on a directory and below it, in the order in which that was done."""
    prefix = f"{os.path.realpath(directory)}/"
    points = [_unescaped(fields[4]) for fields in _mountinfo()]
    return [point for point in points if f"{point}/".startswith(prefix)]


def roots_of(*types: str) -> set[str]:
    """Return which directories of file systems of these types are mounted: mostly "/", another in a container."""
    return {_unescaped(fields[3]) for fields in _mountinfo() if fields[fields.index("-") + 1] in types}


def _mountinfo() -> list[list[str]]:
    # The kernel ends lines with "\n" alone; a path may hold "\r" and whatever else Python takes for the end of a line.
    lines = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).split("\n")
    return [line.split(" ") for line in lines if line]


def _unescaped(path: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), path)


def mount(source: str, target: str, flags: int) -> None:
    """Mount without a file system of its own: bind, or change the propagation; ``OSError`` if that fails."""
    import ctypes

    arguments = (os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    libc.call("mount", *arguments, about=target)


def unmount(target: str) -> None:
    """Unmount what is on top of a directory, in use or not; ``OSError`` if nothing is."""
    libc.call("umount2", os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW, about=target)


def unmount_below(directory: Path) -> bool:
    """Unmount all that is mounted on and below a directory, the last first; return whether nothing is left."""
    for point in reversed(mount_points_below(directory)):
        with contextlib.suppress(OSError):  # already unmounted by propagation from another one
            unmount(point)
    return not mount_points_below(directory)
