"""The directories of test runs, by which the next run finds and ends what a killed run left behind.

::

    /run/pluginexec-tests/
      lock                    flock: held while a directory is taken, or found to be stale
      pytest-TOKEN/           of one pytest process; of an xdist worker, pytest-RUN-TOKEN
        lock                  flock: held while that process runs; the kernel releases it when it exits
        address               where the containerd of its executors listens
        e1/, e2/, ...         root directories of executors; the namespace of e1 is pytest-TOKEN-e1
        containerd/           the private containerd, if each worker has one
      shared-RUN/             of all xdist workers of a run, which hold its lock together
        containerd/           their private containerd

Not below the temporary directory: another run may use another one, and would not find these.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from pluginexec.errors import FailedPrecondition, PluginExecError
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import file_error
from pluginexec.linux.locks import await_lock, release_lock, take_lock
from pluginexec.testing.cleanup import end_run, remove_tree
from pluginexec.testing.run_directory_names import LOCK, RUN_DIRECTORIES

log = logging.getLogger(__name__)

_PARENT = Path(RUN_DIRECTORIES)
_LOCK_TIMEOUT = 30.0
_TAKE_TIMEOUT = 120.0
"""Seconds that another process may take to end what a directory holds."""
_POLL = 0.02


class RunDirectory:
    """A directory that this process holds until ``close``; ``shared`` with others that give the same name."""

    def __init__(self, name: str, *, shared: bool = False) -> None:
        self.path = _PARENT / name
        deadline = time.monotonic() + _TAKE_TIMEOUT
        while (lock := self._take(shared)) is None:
            if time.monotonic() > deadline:
                raise FailedPrecondition(f"{str(self.path)!r} is in use by another test run")
            time.sleep(_POLL)
        self._lock: int | None = lock

    def _take(self, shared: bool) -> int | None:
        with _locked():
            try:
                make_directory(self.path)
                return take_lock(self.path / LOCK, shared=shared)
            except OSError as error:
                raise file_error(error, f"cannot use the directory {str(self.path)!r}") from error

    def close(self) -> None:
        """Release it; the last process to do so ends what it holds. May be called twice."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        with _locked():
            release_lock(lock)
            claimed = take_lock(self.path / LOCK)
        if claimed is not None:
            _end(self.path, claimed)


def end_stale_runs() -> None:
    """End what is left in directories whose processes are gone; what cannot be ended is logged, and stays."""
    claimed = []
    with _locked():
        for directory in sorted(path for path in _PARENT.iterdir() if path.is_dir()):
            lock = take_lock(directory / LOCK)
            if lock is not None:
                claimed.append((directory, lock))
    for directory, lock in claimed:
        _end(directory, lock)


def _end(directory: Path, lock: int) -> None:
    try:
        end_run(directory)
        with _locked():  # no process may take it while it is half removed
            remove_tree(directory)
    except (OSError, PluginExecError) as error:
        log.warning("cannot end now what a test run left in %s, the next run tries again: %s", directory, error)
    finally:
        release_lock(lock)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock on all run directories."""
    try:
        make_directory(_PARENT)
        lock = await_lock(_PARENT / LOCK, _LOCK_TIMEOUT)
    except OSError as error:
        raise file_error(error, f"cannot use the directory {RUN_DIRECTORIES!r}") from error
    if lock is None:
        raise FailedPrecondition(f"another test run holds the lock in {RUN_DIRECTORIES!r} for over {_LOCK_TIMEOUT:g} s")
    try:
        yield
    finally:
        release_lock(lock)
