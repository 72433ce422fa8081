"""The two things of the kernel that a plugin needs and Python's library does not have: mounts, and inotify."""

from __future__ import annotations

import ctypes
import os
from typing import Any

MS_BIND = 4096
MS_REC = 16384
MS_SHARED = 1 << 20
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
IN_ATTRIB = 0x4
IN_MOVED_TO = 0x80
IN_CREATE = 0x100

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, flags: int) -> None:
    """Mount without a file system of its own: bind, or change the propagation; ``OSError`` if that fails."""
    arguments = (os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    _check(_libc.mount(*arguments), target)


def unmount(target: str) -> None:
    """Unmount what is on top of a directory, in use or not; ``OSError`` if nothing is."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW), target)


def watch(directory: str, events: int) -> int:
    """Return a descriptor that is readable once one of ``events`` has happened in a directory."""
    descriptor = _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify")
    try:
        _check(_libc.inotify_add_watch(descriptor, os.fsencode(directory), ctypes.c_uint32(events)), directory)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(result: Any, about: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
    return int(result)
