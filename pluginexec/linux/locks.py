"""Locks on files (``flock``), which the kernel releases when their holder dies.

Each is released by ``release_lock``, and by nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from pluginexec.linux.files import open_plain

_POLL = 0.01
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
    _held.add(descriptor)
    return descriptor


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
