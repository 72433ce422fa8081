"""Watch a directory by inotify."""

from __future__ import annotations

import os

from pluginexec.linux import libc

IN_ATTRIB = 0x4
IN_MOVED_TO = 0x80
IN_CREATE = 0x100


def watch(directory: str, events: int) -> int:
    """Return a descriptor that is readable once one of ``events`` has happened in a directory."""
    import ctypes

    descriptor = libc.call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK, about="inotify")
    try:
        mask = ctypes.c_uint32(events)
        libc.call("inotify_add_watch", descriptor, os.fsencode(directory), mask, about=directory)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
