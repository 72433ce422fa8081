"""Locks on files (``flock``), which the kernel releases when their holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from pluginexec.linux.files import is_at, open_plain

_POLL = 0.01
_TRIES = 10


def await_lock(path: Path, timeout: float, *, shared: bool = False, make: bool = True) -> int | None:
    """Return what ``take_lock`` does, after ``timeout`` seconds at most."""
    deadline = time.monotonic() + timeout
    while (lock := take_lock(path, shared=shared, make=make)) is None and time.monotonic() < deadline:
        time.sleep(_POLL)
    return lock


def take_lock(path: Path, *, shared: bool = False, make: bool = True) -> int | None:
    """Return a descriptor that holds the lock on ``path``, or ``None`` if another process holds it.

    Without ``make``, the file must be there, and must not be removed by its last holder meanwhile. ``OSError`` if it
    cannot be opened, or is a link.
    """
    while True:
        descriptor = open_plain(path, os.O_RDWR | (os.O_CREAT if make else 0))
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if is_at(path, descriptor):
                return descriptor
            if not make:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the last holder has removed it


def take_lock_in(
    make_directory: Callable[[], None], path: Path, timeout: float = 0.0, *, shared: bool = False
) -> int | None:
    """Return what ``await_lock`` does, after making the directory; again if a process removes it meanwhile."""
    for _ in range(_TRIES):
        make_directory()
        with contextlib.suppress(FileNotFoundError):
            return await_lock(path, timeout, shared=shared)
    raise FileNotFoundError(errno.ENOENT, "other processes keep removing it", str(path))


def release_lock(descriptor: int) -> None:
    """Release a lock; to close it is not enough, because a fork of this process may hold a copy."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
