"""The root directory: where everything in it lies, its lock, and the files of each plugin.

::

    ROOT/                       0700
      lock                      flock: one executor per root, or several that share it
      runtime-root/             the OCI runtime's state
      containers/ID/            config.json, stdout and stderr (FIFOs), attached (lock), pid, exit.json
      plugins/ID/               the records and logs of the command line; see host/records
      managed/NAME/             managed plugins; see host/managed/files
      seccomp/                  default profiles; see host/seccomp
      containerd/               the private containerd; see daemon/files
      serve.lock, serve.sock    of ``pluginexec serve``
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pluginexec.errors import FailedPrecondition, InvalidArgument, PermissionDenied, PluginExecError, Unavailable, shown
from pluginexec.types import ExitStatus
from pluginexec.validation import check_id

EXITS_KEPT = 256
"""How many exit records of ended plugins a root keeps; the oldest go first."""
_ATTACH_TIMEOUT = 5.0
_LOCK_TIMEOUT = 1.0
"""Seconds that what an executor was starting when it was killed may take until it runs: so long it holds the lock."""
# What is wrong with a path itself, and would be wrong again.
_WRONG_PATH = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)
"""Why a file could not be opened that may well open later."""
_TAKEN_HINT = "close the other executor first, or give this one another root directory"


class Layout:
    """The paths directly below a root directory; each is named here and nowhere else."""

    def __init__(self, root: Path) -> None:
        self.lock = root / "lock"
        self.runtime_root = root / "runtime-root"
        self.containers = root / "containers"
        self.plugins = root / "plugins"
        self.managed = root / "managed"
        self.seccomp = root / "seccomp"
        self.containerd = root / "containerd"
        self.serve_lock = root / "serve.lock"
        self.serve_socket = root / "serve.sock"


class Root:
    """A root directory, locked for this process until ``close``; ``shared`` with others that share it."""

    def __init__(self, directory: str | os.PathLike[str], *, shared: bool = False) -> None:
        self.path = absolute(directory)
        self._shared = shared
        layout = Layout(self.path)
        self.runtime_root = layout.runtime_root
        self._containers = layout.containers
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._containers.mkdir(mode=0o700, exist_ok=True)
            self._lock = await_lock(layout.lock, _LOCK_TIMEOUT, shared=shared)
        except OSError as error:
            # A file system that is read-only here is so for good; under a root that was in use, it may pass.
            wrong = (*_WRONG_PATH, errno.EROFS)
            raise file_error(error, f"root directory {str(self.path)!r} cannot be used", wrong) from error
        except RecursionError as error:  # mkdir calls itself for each directory that is missing
            raise InvalidArgument(f"root directory {shown(str(self.path))} lies too deep") from error
        if self._lock is None:
            raise FailedPrecondition(f"root directory {str(self.path)!r} is in use", hint=_TAKEN_HINT)
        self._newest_exit = 0

    def close(self) -> None:
        """Let another executor have the root."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def plugin(self, id: str) -> PluginFiles:
        """Return the files of one plugin; nothing is made yet. ``InvalidArgument`` for a bad id."""
        return PluginFiles(self._containers / check_id(id), self._exit_time)

    def old_exits(self) -> list[PluginFiles]:
        """Return the plugins whose exit record is older than the newest ``EXITS_KEPT``; none of a shared root."""
        if self._shared:  # an id may be somebody else's at this moment
            return []
        records = []
        with contextlib.suppress(OSError):  # it cannot be listed now
            for path in self._containers.glob("*/exit.json"):
                with contextlib.suppress(OSError):  # gone meanwhile
                    records.append((path.stat().st_mtime_ns, path))
        records.sort()
        if records:
            self._newest_exit = max(self._newest_exit, records[-1][0])
        return [PluginFiles(path.parent) for _, path in records[:-EXITS_KEPT]]

    def _exit_time(self) -> int:
        """Return a time for a new exit record: later than that of any other, though the clock was set back."""
        self._newest_exit = max(time.time_ns(), self._newest_exit + 1)
        return self._newest_exit


class PluginFiles:
    """The files of one plugin, in a directory of its own."""

    def __init__(self, directory: Path, exit_time: Callable[[], int] = time.time_ns) -> None:
        self._exit_time = exit_time
        self.id = directory.name
        self.directory = directory
        self.config = directory / "config.json"
        self.stdout = directory / "stdout"
        self.stderr = directory / "stderr"
        self.attached = directory / "attached"
        self.pid = directory / "pid"
        self._exit = directory / "exit.json"
        self._new_exit = directory / "exit.json.new"

    def make(self, spec: dict[str, Any]) -> None:
        """Make the directory afresh, with the spec in it."""
        self.remove()
        try:
            self.directory.mkdir(mode=0o700, parents=True)
            self.config.write_text(json.dumps(spec), encoding="utf-8")
        except OSError as error:
            raise file_error(error, f"directory {str(self.directory)!r} cannot be made") from error

    def remove(self, *, keep_exit: bool = False) -> None:
        """Remove the directory; with ``keep_exit``, all in it but the exit record."""
        # By their names: to list the directory takes a descriptor, and there may be none.
        kept = [] if keep_exit else [self._exit]
        for path in (self.config, self.stdout, self.stderr, self.attached, self.pid, self._new_exit, *kept):
            with contextlib.suppress(OSError):
                path.unlink()
        try:
            self.directory.rmdir()
        except OSError:  # there is an exit record, or something that we did not make
            if not keep_exit:
                shutil.rmtree(self.directory, ignore_errors=True)

    def exist(self) -> bool:
        """Return whether a plugin of this id was created here and not yet cleaned up."""
        return self.config.exists()

    def attach(self) -> int:
        """Take the lock that tells the logger that somebody reads; closing the descriptor releases it."""
        deadline = time.monotonic() + _ATTACH_TIMEOUT
        # The logger tries the lock itself, for an instant, to learn whether anybody holds it.
        while (lock := self._try_attached()) is None:
            if time.monotonic() > deadline:
                raise FailedPrecondition(f"{str(self.attached)!r} is locked by another process")
            time.sleep(0.005)
        return lock

    def _try_attached(self) -> int | None:
        try:
            return take_lock(self.attached)
        except OSError as error:
            raise file_error(error, f"lock {str(self.attached)!r} cannot be taken") from error

    def read_pid(self) -> int | None:
        """Return the pid that ``ctr`` wrote; what it names now must be checked."""
        try:
            return int(_read(self.pid))
        except ValueError:
            return None

    def read_spec(self) -> dict[str, Any]:
        """Return the spec that the plugin was created with; empty if there is none."""
        try:
            spec = json.loads(_read(self.config))
        except ValueError:
            return {}
        return spec if isinstance(spec, dict) else {}

    def write_exit(self, status: ExitStatus) -> None:
        """Write the exit record, whole or not at all; ``OSError`` if that fails."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = {
            "exit_code": status.exit_code,
            "exited_at": status.exited_at.isoformat(),
            "pid": status.pid,
            "oom_killed": status.oom_killed,
        }
        try:
            self._new_exit.write_text(json.dumps(record), encoding="utf-8")
            at = self._exit_time()
            os.utime(self._new_exit, ns=(at, at))
            self._new_exit.replace(self._exit)
        except OSError:
            with contextlib.suppress(OSError):
                self._new_exit.unlink()
            raise

    def read_exit(self) -> ExitStatus | None:
        """Return the exit record, or ``None`` if there is none."""
        try:
            record = json.loads(_read(self._exit))
            return ExitStatus(
                exit_code=record["exit_code"],
                exited_at=datetime.fromisoformat(record["exited_at"]),
                pid=record["pid"],
                oom_killed=record["oom_killed"],
            )
        except (ValueError, KeyError, TypeError):
            return None


def _read(path: Path) -> bytes:
    """Return what is in a file, nothing if there is none; an error of the tree if it cannot be read now."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""
    except OSError as error:
        raise file_error(error, f"file {str(path)!r} cannot be read") from error


def await_lock(path: Path, timeout: float, *, shared: bool = False, make: bool = True) -> int | None:
    """Return what ``take_lock`` does, after ``timeout`` seconds at most."""
    deadline = time.monotonic() + timeout
    while (lock := take_lock(path, shared=shared, make=make)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return lock


def take_lock(path: Path, *, shared: bool = False, make: bool = True) -> int | None:
    """Return a descriptor that holds the lock on ``path``, or ``None`` if somebody else holds it.

    Without ``make``, the file must be there.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def file_error(error: OSError, what: str, wrong_path: tuple[int, ...] = _WRONG_PATH) -> PluginExecError:
    """Return the error of the tree for a file that could not be made, read or written."""
    message = f"{what}: {error.strerror or error}"
    if isinstance(error, PermissionError):
        return PermissionDenied(message, hint="run as root")
    if error.errno in wrong_path:
        return InvalidArgument(message)
    return Unavailable(message)


def absolute(directory: str | os.PathLike[str]) -> Path:
    """Return a root directory as an absolute path; ``InvalidArgument`` for what is none."""
    try:
        text = os.fsdecode(directory)
        # The path travels through containerd's API, whose strings are UTF-8.
        text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"root directory {directory!r} is not a path in UTF-8") from error
    if not text or "\0" in text:  # before abspath: that of Python 3.11.0 to 3.11.3 cuts a path at a NUL
        raise InvalidArgument(f"root directory {directory!r} is not a path")
    return Path(os.path.abspath(text))
