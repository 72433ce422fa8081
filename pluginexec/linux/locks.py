"""Locks on files (``flock``), which the kernel releases when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from pluginexec.linux.files import open_plain

_POLL = 0.01


def await_lock(path: Path, timeout: float, *, shared: bool = False, make: bool = True) -> int | None:
    """Return what ``take_lock`` does, after ``timeout`` seconds at most."""
    deadline = time.monotonic() + timeout
    while (lock := take_lock(path, shared=shared, make=make)) is None and time.monotonic() < deadline:
        time.sleep(_POLL)
    return lock


def take_lock(path: Path, *, shared: bool = False, make: bool = True) -> int | None:
    """Return a descriptor that holds the lock on ``path``, or ``None`` if another process holds it.

    Without ``make``, the file must be there. ``OSError`` if it cannot be opened, or is a link.
    """
    descriptor = open_plain(path, os.O_RDWR | (os.O_CREAT if make else 0))
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def release_lock(descriptor: int) -> None:
    """Release a lock; to close it is not enough, because a fork of this process may hold a copy."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
