"""The files of one plugin of an executor."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pluginexec.errors import FailedPrecondition
from pluginexec.linux import trees
from pluginexec.linux.directories import is_there, make_directory
from pluginexec.linux.files import file_error, read_bounded, write_plain
from pluginexec.linux.locks import take_lock
from pluginexec.linux.reserve import reserve, write_in_place
from pluginexec.root.image_rootfs import ImageRootfs, unmount_rootfs
from pluginexec.types import ExitStatus

_ATTACH_TIMEOUT = 5.0
_RECORD_TIMEOUT = 1.0


class PluginFiles:
    """The files of one plugin, in a directory of its own.

    ``record``: the directory of its record, if it has one, where its exit is written down too: that survives a reboot.
    """

    def __init__(
        self, directory: Path, exit_time: Callable[[], int] = time.time_ns, record: Path | None = None
    ) -> None:
        self._record = record
        self._exit_time = exit_time
        self.id = directory.name
        self.directory = directory
        self.config = directory / "config.json"
        self.stdout = directory / "stdout"
        self.stderr = directory / "stderr"
        self.attached = directory / "attached"
        self.pid = directory / "pid"
        self.rootfs = directory / "rootfs"
        self.changes = directory / "changes"
        self.first = directory / "first"
        self._ended = directory / "ended.json"
        self._new_ended = directory / "ended.json.new"
        self._exit = directory / "exit.json"
        self._new_exit = directory / "exit.json.new"

    def make(self, spec: dict[str, Any]) -> None:
        """Make the directory afresh, with the spec in it."""
        self.remove()
        make_directory(self.directory, in_use=True)
        try:
            write_plain(self.config, json.dumps(spec))
            reserve(self._new_exit)  # so that its exit can be recorded on a full disk
            if self._record and self._record.is_dir():
                reserve(self._record / self._new_exit.name)
        except OSError as error:
            raise file_error(error, f"directory {str(self.directory)!r} cannot be made") from error
        image_rootfs = ImageRootfs.of(spec)
        if image_rootfs and spec["root"]["path"] == str(self.rootfs):  # else it is not ours to mount on
            image_rootfs.mount(self.rootfs)

    def remove(self, *, keep_exit: bool = False) -> None:
        """Remove the directory; with ``keep_exit``, all in it but the exit record. What is mounted is unmounted."""
        unmount_rootfs(self.rootfs)
        trees.remove(self.changes)
        # By their names: to list the directory takes a descriptor, and there may be none.
        kept = [] if keep_exit else [self._exit]
        ended = (self.first, self._ended, self._new_ended)
        for path in (self.config, self.stdout, self.stderr, self.attached, self.pid, *ended, self._new_exit, *kept):
            with contextlib.suppress(OSError):
                path.unlink()
        try:
            self.directory.rmdir()
        except OSError:  # there is an exit record, or something that we did not make
            if not keep_exit:
                trees.remove(self.directory)

    def exist(self) -> bool:
        """Return whether a plugin of this id was created here and not yet cleaned up."""
        return is_there(self.config)

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
        except (ValueError, RecursionError):
            return {}
        return spec if isinstance(spec, dict) else {}

    def write_exit(self, status: ExitStatus) -> None:
        """Write the exit record, whole or not at all; ``OSError`` or an error of the tree if that fails."""
        content = {
            "exit_code": status.exit_code,
            "exited_at": status.exited_at.isoformat(),
            "pid": status.pid,
            "oom_killed": status.oom_killed,
            "exited_at_is_upper_bound": status.exited_at_is_upper_bound,
        }
        make_directory(self.directory, in_use=True)
        self._write_exit(self._exit, content)
        if self._record and self._record.is_dir():
            self._write_exit(self._record / self._exit.name, content)

    def _write_exit(self, path: Path, content: dict[str, Any]) -> None:
        draft = path.with_name(self._new_exit.name)
        try:
            write_in_place(draft, json.dumps(content))
            at = self._exit_time()
            os.utime(draft, ns=(at, at))
            draft.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise

    def read_exit(self) -> ExitStatus | None:
        """Return the exit record, or ``None`` if there is none."""
        return _decode_exit(_read(self._exit))

    def find_exit(self, pid: int) -> ExitStatus | None:
        """Return what an executor, or else the logger, recorded when this process, which has ended, did so."""
        status = self.read_exit()
        return status if status and status.pid == pid else self.read_logged_exit(pid)

    def read_logged_exit(self, pid: int) -> ExitStatus | None:
        """Return what the logger of a ``JsonFile`` recorded when this process, which has ended, did so.

        Waits a moment for a logger that is at it.
        """
        deadline = time.monotonic() + _RECORD_TIMEOUT
        while (status := _decode_exit(_read(self._ended))) is None and self._new_ended.exists():
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        return status if status and status.pid == pid else None


def _decode_exit(text: bytes) -> ExitStatus | None:
    try:
        record = json.loads(text)
        return ExitStatus(
            exit_code=record["exit_code"],
            exited_at=datetime.fromisoformat(record["exited_at"]),
            pid=record["pid"],
            oom_killed=record["oom_killed"],
            exited_at_is_upper_bound=record.get("exited_at_is_upper_bound", False),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(path: Path) -> bytes:
    """Return what is in a file, nothing if there is none; an error of the tree if it cannot be read now."""
    try:
        return read_bounded(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""
    except OSError as error:
        raise file_error(error, f"file {str(path)!r} cannot be read") from error
