"""The directories in which test runs keep what they run, so that what a run left that was killed is found and ended.

::

    /run/pluginexec-tests/
      lock                    flock: held while a place is taken, or found to be nobody's
      pytest-TOKEN/           of one pytest process; of a worker of xdist, pytest-RUN-TOKEN
        lock                  flock: held as long as that lives; the kernel drops it when it dies
        address               where the containerd of its executors listens
        e1/, e2/, ...         root directories of executors; the namespace of e1 is pytest-TOKEN-e1
        containerd/           the private containerd, where there is one for each worker
      shared-RUN/             of all xdist workers of a run, each of which holds the lock with the others
        containerd/           their private containerd

Not below the temporary directory: another run may have another one, and would not find this.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pluginexec.errors import FailedPrecondition, PluginExecError
from pluginexec.root import await_lock, file_error, take_lock
from pluginexec.testing.cleanup import end_place, remove_tree
from pluginexec.testing.placenames import LOCK, PLACES

log = logging.getLogger(__name__)

_PLACES = Path(PLACES)
_LOCK_TIMEOUT = 30.0
_TAKE_TIMEOUT = 120.0
"""Seconds that somebody else may take to end what is in a place."""
_POLL = 0.02


class Place:
    """A directory that is ours until ``close``; ``shared`` with other processes that give the same name."""

    def __init__(self, name: str, *, shared: bool = False) -> None:
        self.directory = _PLACES / name
        deadline = time.monotonic() + _TAKE_TIMEOUT
        while (lock := self._take(shared)) is None:
            if time.monotonic() > deadline:
                raise FailedPrecondition(f"{str(self.directory)!r} is in use by another test run")
            time.sleep(_POLL)
        self._lock: int | None = lock

    def _take(self, shared: bool) -> int | None:
        with _locked():
            try:
                self.directory.mkdir(mode=0o700, exist_ok=True)
                return take_lock(self.directory / LOCK, shared=shared)
            except OSError as error:
                raise file_error(error, f"directory {str(self.directory)!r} cannot be used") from error

    def close(self) -> None:
        """Leave it; whoever is the last ends what is in it. May be called twice."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        with _locked():
            _let_go(lock)
            claimed = take_lock(self.directory / LOCK)
        if claimed is not None:
            _end(self.directory, claimed)


def end_the_dead() -> None:
    """End what is left in places whose processes are gone, and only that; what cannot be ended is logged, and stays."""
    claimed = []
    with _locked():
        for directory in sorted(path for path in _PLACES.iterdir() if path.is_dir()):
            lock = take_lock(directory / LOCK)
            if lock is not None:
                claimed.append((directory, lock))
    for directory, lock in claimed:
        _end(directory, lock)


def _end(directory: Path, lock: int) -> None:
    try:
        end_place(directory)
        with _locked():  # nobody may take it while it is half gone
            remove_tree(directory)
    except (OSError, PluginExecError) as error:
        log.warning("what a test run has left in %s cannot be ended now, but by the next run: %s", directory, error)
    finally:
        _let_go(lock)


def _let_go(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough: a fork of this process may hold a copy
    os.close(lock)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock on all places."""
    try:
        _PLACES.mkdir(mode=0o700, exist_ok=True)
        lock = await_lock(_PLACES / LOCK, _LOCK_TIMEOUT)
    except OSError as error:
        raise file_error(error, f"directory {PLACES!r} cannot be used") from error
    if lock is None:
        raise FailedPrecondition(f"the lock in {PLACES!r} is held by another test run for over {_LOCK_TIMEOUT:g} s")
    try:
        yield
    finally:
        _let_go(lock)
