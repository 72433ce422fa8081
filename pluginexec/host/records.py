"""What was asked for of each plugin, and what became of it, on disk.

::

    ROOT/plugins/ID/
      lock              flock: held by a command that works on the plugin; by `run` in the foreground and `serve` always
      plugin.json       what was asked for
      config.json       the OCI spec
      state.json        what became of it; written only by the holder of the lock
      changes/          what an image's root file system takes: upper and work of the overlay
      state.json.new    the space for the next state.json, so that it can be written on a full disk
      exit.json         how it ended, written by its executor before the container is deleted
      stopped           named so if a person stopped it, and no restart policy starts it again; else not-stopped

The record is what docker calls the container; containerd's container is there only while the plugin runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pluginexec.errors import AlreadyExists, DeadlineExceeded, InvalidArgument, NotFound, Unknown, shown
from pluginexec.host.plugin_lock import held_lock
from pluginexec.linux import trees
from pluginexec.linux.boot import boot_id
from pluginexec.linux.directories import make_directory, names_in
from pluginexec.linux.files import SHORTAGES, ForeignFile, file_error, read_own, write_plain
from pluginexec.linux.pidfd import InitProcess, start_seconds
from pluginexec.linux.reserve import reserve, write_in_place
from pluginexec.root.layout import ROOT, Layout
from pluginexec.validation import check_id

log = logging.getLogger(__name__)

_T = TypeVar("_T", "Record", "State")
_TIMES = ("created_at", "started_at", "finished_at")
_NEW_STATE = "state.json.new"
_NOT_STOPPED = "not-stopped"
SHORT_LOCK_TIMEOUT = 1.0
"""Seconds that a command which only looks may hold a lock; one that holds it for longer supervises the plugin."""


@dataclass(frozen=True)
class Record:
    """What was asked for when a plugin was created.

    ``detached``: its output goes to a logger of its own, not to FIFOs that the process which runs it reads.
    """

    id: str
    created_at: datetime
    address: str
    namespace: str
    command: list[str]
    labels: dict[str, str] = field(default_factory=dict)
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)
    restart: str = "no"
    auto_remove: bool = False
    stop_signal: str = "SIGTERM"
    runtime: str | None = None
    detached: bool = True
    image: str = ""
    image_digest: str = ""


@dataclass(frozen=True)
class State:
    """What became of a plugin: ``status`` is created, running, restarting or exited.

    ``pid_started``: when its process started, in seconds since the boot; with it, a pid that the kernel gave to
    another process is not taken for it; nor, with ``boot_id``, one of another boot. ``finished_at_is_upper_bound``:
    whether it ended then or before.
    """

    status: str = "created"
    pid: int = 0
    pid_started: float = 0.0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    finished_at_is_upper_bound: bool = False
    exit_code: int | None = None
    oom_killed: bool = False
    restart_count: int = 0
    error: str = ""
    boot_id: str = ""


class Records:
    """The records of one root. Every method raises ``NotFound`` for an id without one."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._plugins = layout.plugins

    def ids(self) -> list[str]:
        """List the ids, those that were created last first."""
        created = {}
        for id in names_in(self._plugins):
            if id.startswith("."):  # one that is being made
                continue
            path = self._plugins / id / "plugin.json"
            try:
                created[id] = path.stat().st_mtime_ns
            except (FileNotFoundError, NotADirectoryError):  # removed meanwhile, or something else
                continue
            except OSError as error:
                raise file_error(error, f"{str(path)!r} cannot be read") from error
        return sorted(created, key=lambda id: created[id], reverse=True)

    def resolve(self, reference: str) -> str:
        """Return the id that is meant: an id, or the beginning of just one."""
        return resolve_id(reference, self.ids(), self.layout)

    def directory(self, id: str) -> Path:
        """Return where the files of a plugin are, its logs too."""
        return self._plugins / check_id(id)

    def record(self, id: str) -> Record:
        """Return what was asked for."""
        return _decode(Record, self._read(id, "plugin.json"), id)

    def state(self, id: str) -> State:
        """Return what became of it, as far as anybody wrote it down."""
        return _decode(State, self._read(id, "state.json"), id)

    def spec(self, id: str) -> dict[str, Any]:
        """Return its OCI spec."""
        return self._read(id, "config.json")

    def create(self, record: Record, spec: dict[str, Any]) -> None:
        """Make the record of a plugin, whole or not at all; ``AlreadyExists`` if there is one."""
        directory = self.directory(record.id)
        self.layout.make()
        make_directory(self._plugins, ROOT)
        try:
            draft = Path(tempfile.mkdtemp(prefix=".", dir=self._plugins))
            try:
                (draft / "lock").touch(mode=0o600)
                _write(draft / "config.json", spec)
                _write(draft / "state.json", _encode(State()))
                reserve(draft / _NEW_STATE)
                (draft / _NOT_STOPPED).touch(mode=0o600)
                _write(draft / "plugin.json", _encode(record))
                if directory.exists() and not (directory / "plugin.json").exists():
                    trees.remove(directory)  # left by a removal that was killed
                draft.rename(directory)
            except BaseException:
                trees.remove(draft)
                raise
        except OSError as error:
            if directory.exists():
                hint = "remove it with 'pluginexec rm', start it, or choose another name"
                raise AlreadyExists(
                    "there is a plugin of this id", operation="create", id=record.id, hint=hint
                ) from error
            raise file_error(error, f"directory {str(directory)!r} cannot be made") from error

    def renew(self, record: Record, spec: dict[str, Any]) -> None:
        """Write down anew what is asked for of a plugin that does not run; only the holder of the lock may."""
        path = self.directory(record.id) / "plugin.json"
        write_whole(path.with_name("config.json"), spec, record.id)
        made = path.stat()
        write_whole(path, _encode(record), record.id)
        os.utime(path, ns=(made.st_atime_ns, made.st_mtime_ns))  # by which ids are ordered

    def write_state(self, id: str, state: State) -> None:
        """Write down what became of it; only the holder of the lock may."""
        path = self.directory(id) / "state.json"
        new = path.with_name(_NEW_STATE)
        try:
            write_in_place(new, json.dumps(_encode(state)))
            new.replace(path)
        except FileNotFoundError as error:
            raise _missing(id) from error
        except OSError as error:
            raise file_error(error, f"file {str(path)!r} cannot be written") from error
        with contextlib.suppress(OSError):  # what the last one took is free now
            reserve(new)

    def change_state(self, id: str, **changes: Any) -> State:
        """Write some fields of the state anew, and return it; only the holder of the lock may."""
        state = replace(self.state(id), **changes)
        self.write_state(id, state)
        return state

    def remove(self, id: str) -> None:
        """Remove the record and the logs; only the holder of the lock may."""
        directory = self.directory(id)
        with contextlib.suppress(FileNotFoundError):
            # plugin.json first: half a record would be worse than none.
            (directory / "plugin.json").unlink()
        trees.remove(directory)

    @contextlib.contextmanager
    def lock(self, id: str, timeout: float = 0.0) -> Iterator[None]:
        """Hold the lock of a plugin; ``DeadlineExceeded`` if somebody else still does after ``timeout`` seconds."""
        with held_lock(self.directory(id) / "lock", timeout, id, _missing(id)):
            yield

    def is_locked(self, id: str) -> bool:
        """Return whether a command works on a plugin at this moment."""
        try:
            with self.lock(id):
                return False
        except DeadlineExceeded:
            return True

    def stopped(self, id: str) -> bool:
        """Return whether a person stopped it."""
        return (self.directory(id) / "stopped").exists()

    def mark_stopped(self, id: str) -> None:
        """Record that a person stopped it; without the lock, and before the signal is sent.

        Where the disk has no room even for that, a warning is logged, and the signal must be sent all the same.
        """
        path = self.directory(id) / "stopped"
        try:
            with contextlib.suppress(FileNotFoundError):  # it was stopped before
                path.with_name(_NOT_STOPPED).rename(path)
            path.touch(mode=0o600)
        except FileNotFoundError as error:
            raise _missing(id) from error
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise file_error(error, f"{str(path)!r} cannot be made") from error
            log.warning("%s: cannot record that it was stopped, serve may start it again: %s", id, error.strerror)

    def clear_stopped(self, id: str) -> None:
        """Record that it is to run again."""
        path = self.directory(id) / "stopped"
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name(_NOT_STOPPED))

    def _read(self, id: str, name: str) -> dict[str, Any]:
        return read_whole(self.directory(id) / name, id)


def resolve_id(reference: str, ids: list[str], layout: Layout) -> str:
    """Return the id that is meant: one of those of a root, or the beginning of just one; ``NotFound`` else."""
    id = resolve_prefix(reference, ids)
    if id is None:
        hint = f"'pluginexec ps -a' lists all (root: {layout.root})"
        raise NotFound(f"no such plugin: {shown(reference)}", hint=hint)
    return id


def resolve_prefix(reference: str, ids: list[str]) -> str | None:
    """Return the id that is meant: one of those, or the beginning of just one; ``None`` if there is none."""
    if reference in ids:
        return reference
    found = [id for id in ids if reference and id.startswith(reference)]
    if len(found) > 1:
        raise InvalidArgument(f"{shown(reference)} is the beginning of {len(found)} ids; give more of it")
    return found[0] if found else None


def hold_process(state: State) -> InitProcess | None:
    """Return the process of a state, held; ``None`` if it has ended. Close it in the end."""
    if state.status != "running" or not state.pid or is_of_another_boot(state):
        return None
    init = InitProcess.open(state.pid)
    if init and start_seconds(state.pid) != state.pid_started:
        init.close()
        return None
    return init


def is_of_another_boot(state: State) -> bool:
    """Return whether the machine was booted since a plugin was started: then it has ended, whatever has its pid."""
    return bool(state.boot_id) and state.boot_id != boot_id()


def is_alive(state: State) -> bool:
    """Return whether the process of a state lives; asks the kernel, and starts no process."""
    init = hold_process(state)
    if init:
        init.close()
    return init is not None


def _missing(id: str) -> NotFound:
    return NotFound("no such plugin", id=id, hint="'pluginexec ps -a' lists all")


def _encode(value: Record | State) -> dict[str, Any]:
    content = {each.name: getattr(value, each.name) for each in fields(value)}
    return {key: item.isoformat() if isinstance(item, datetime) else item for key, item in content.items()}


def _decode(kind: type[_T], content: dict[str, Any], id: str) -> _T:
    known = {each.name for each in fields(kind)}
    values = {key: value for key, value in content.items() if key in known}  # a later version may know more
    try:
        for key in _TIMES:
            if values.get(key):
                values[key] = datetime.fromisoformat(values[key])
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise Unknown(f"its record is not understood: {error}", id=id, hint="remove its directory") from error


def _write(path: Path, content: dict[str, Any]) -> None:
    write_plain(path, json.dumps(content))


def read_whole(path: Path, id: str) -> dict[str, Any]:
    """Read a JSON file of a plugin; ``NotFound`` if it is not there."""
    try:
        content = json.loads(read_own(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(id) from error
    except ForeignFile as error:
        raise Unknown(f"file {str(path)!r} belongs to another user", id=id, hint="remove its directory") from error
    except OSError as error:
        raise file_error(error, f"file {str(path)!r} cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise Unknown(f"file {str(path)!r} is not json: {error}", id=id, hint="remove its directory") from error
    if not isinstance(content, dict):
        raise Unknown(f"file {str(path)!r} has no json object in it", id=id, hint="remove its directory")
    return content


def write_whole(path: Path, content: dict[str, Any], id: str) -> None:
    """Write a JSON file of a plugin, whole or not at all."""
    draft = path.with_suffix(f".new{os.getpid()}")
    try:
        _write(draft, content)
        draft.replace(path)
    except FileNotFoundError as error:
        raise _missing(id) from error
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise file_error(error, f"file {str(path)!r} cannot be written") from error
