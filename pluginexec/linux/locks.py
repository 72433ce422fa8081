"""Locks on files (``flock``), which the kernel releases when their holder dies.

Each is released by ``release_lock``, and by nothing else.
"""

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
_held: set[int] = set()
"""The descriptors of the locks that this process holds."""


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
                _held.add(descriptor)
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
    """Release a lock; to close it is not enough, because a child that is being made may hold a copy."""
    _held.discard(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _let_go() -> None:
    """Close a forked child's copies of the locks: it must neither keep what its parent releases, nor release it.

    ``flock`` locks belong to the open file, which both share. The numbers stay open, on ``/dev/null``, because the
    child's copies of the objects may still close them.
    """
    with contextlib.suppress(OSError):  # out of descriptors: the parent's LOCK_UN has to do
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor in _held:
            os.dup2(null, descriptor, inheritable=False)
        os.close(null)


os.register_at_fork(after_in_child=_let_go)
