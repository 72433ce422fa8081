"""The managed plugins of one root, on disk: ``ROOT/managed``.

::

    ROOT/managed/
      .lock             flock: held shortly while a draft is begun, or old drafts are removed
      NAME/             a plugin: see ``files.py``
      .XXXX/            a draft, or the rest of a removed plugin; its lock is held while a process works on it
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pluginexec.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PluginExecError,
    Unknown,
    shown,
)
from pluginexec.host.managed.files import ManagedFiles
from pluginexec.host.plugin_lock import held_lock
from pluginexec.host.records import Records, read_whole, resolve_prefix, write_whole
from pluginexec.linux import trees
from pluginexec.linux.directories import is_there, make_directory, names_in
from pluginexec.linux.files import file_error
from pluginexec.linux.locks import await_lock, release_lock, take_lock
from pluginexec.linux.mounts import unmount_below
from pluginexec.managed.config import PluginConfig, load_config
from pluginexec.managed.settings import Settings, default_settings
from pluginexec.root.layout import ROOT, Layout
from pluginexec.validation import check_id

log = logging.getLogger(__name__)

_LOCK_TIMEOUT = 60.0
"""Seconds to wait for the lock of a plugin: longer than enabling or disabling takes by default."""


@dataclass(frozen=True)
class Managed:
    """The name of a managed plugin, and the options that it was created with."""

    name: str
    created_at: datetime
    restart: str = "no"
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)


class ManagedStore:
    """The managed plugins of a root. Every method raises ``NotFound`` for an unknown name."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._directory = layout.managed

    def names(self) -> list[str]:
        """Return the names of all plugins."""
        names = (name for name in names_in(self._directory) if not name.startswith("."))
        return [name for name in names if is_there(self._directory / name / "managed.json")]

    def resolve(self, reference: str) -> str:
        """Return the name for a reference: a name, or the beginning of exactly one."""
        name = resolve_prefix(reference, self.names())
        if name is None:
            raise _missing(reference, f" (root: {str(self.layout.root)!r})")
        return name

    def files(self, name: str) -> ManagedFiles:
        """Return the files of a plugin."""
        return ManagedFiles.of(self.layout, name)

    def managed(self, name: str) -> Managed:
        """Return the options that a plugin was created with."""
        content = self._read(name, self.files(name).managed)
        try:
            return Managed(**{**content, "created_at": datetime.fromisoformat(content["created_at"])})
        except (TypeError, ValueError, KeyError) as error:
            raise _unreadable(name, error) from error

    def config(self, name: str) -> PluginConfig:
        """Return its configuration."""
        return load_config(self.files(name).bundle, quiet=True)

    def settings(self, name: str) -> Settings:
        """Return its settings."""
        try:
            return Settings.from_json(self._read(name, self.files(name).settings))
        except (TypeError, ValueError, KeyError) as error:
            raise _unreadable(name, error) from error

    def write_settings(self, name: str, settings: Settings) -> None:
        """Write its settings; the caller must hold the lock."""
        write_whole(self.files(name).settings, settings.to_json(), name)

    def implements(self, name: str) -> list[str] | None:
        """Return its answer to Plugin.Activate; ``None`` if it is not enabled."""
        if not self.files(name).activated.exists():
            return None
        return list(self._read(name, self.files(name).activated).get("implements") or [])

    def write_implements(self, name: str, implements: list[str]) -> None:
        """Write that it is enabled, and its answer; the caller must hold the lock."""
        write_whole(self.files(name).activated, {"implements": implements}, name)

    def create(self, managed: Managed, source: str | os.PathLike[str]) -> None:
        """Create a plugin from a directory, or its tar, with ``config.json`` and ``rootfs/``: completely or not at all.

        Raises ``AlreadyExists`` for a name that is taken, ``InvalidArgument`` with all errors of an invalid bundle.
        """
        from pluginexec.managed.bundle import unpack  # here, because it imports much that only this command needs

        files = self.files(managed.name)
        with self._draft() as draft:
            self._check_free(files)  # before everything is copied
            new = ManagedFiles(draft)
            config = load_config(unpack(source, new.bundle), quiet=True)
            write_whole(new.settings, default_settings(config).to_json(), managed.name)
            write_whole(new.managed, {**asdict(managed), "created_at": managed.created_at.isoformat()}, managed.name)
            try:
                draft.rename(files.directory)
            except OSError as error:
                self._check_free(files)
                raise file_error(error, f"directory {str(files.directory)!r} cannot be made") from error

    def remove(self, name: str) -> None:
        """Remove a plugin that does not run; the caller must hold the lock."""
        files = self.files(name)
        try:
            removed = self._directory / f".{os.urandom(8).hex()}"  # not made before: the disk may be full
            # Now the plugin is gone. Its lock moves too: if this process is killed, the next one removes the rest.
            files.directory.rename(removed)
        except OSError as error:
            raise file_error(error, f"directory {str(files.directory)!r} cannot be removed") from error
        _discard(removed)

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Hold the lock of a plugin; raise ``DeadlineExceeded`` if another process holds it too long."""
        self._remove_drafts()
        with held_lock(self.files(name).lock, _LOCK_TIMEOUT, name, _missing(name)):
            yield

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        """Create a directory that is removed in the end, unless it was renamed; its lock protects it from others."""
        self._remove_drafts()
        self.layout.make()
        make_directory(self._directory, ROOT)
        try:
            with self._locked():
                draft = Path(tempfile.mkdtemp(prefix=".", dir=self._directory))
                lock = take_lock(draft / "lock")
        except OSError as error:
            raise file_error(error, f"directory {str(self._directory)!r} cannot be used") from error
        assert lock is not None
        try:
            yield draft
        except OSError as error:
            raise file_error(error, f"directory {str(draft)!r} cannot be made") from error
        finally:
            _discard(draft)
            release_lock(lock)

    def _remove_drafts(self) -> None:
        """Remove the drafts of processes that were killed; what fails is left to a later command."""
        drafts = [path for path in self._directory.glob(".*") if path.is_dir()]
        if not drafts:
            return
        try:
            with self._locked():  # only while they are claimed: to remove a large one takes long
                claimed = {draft: lock for draft in drafts if (lock := _claim(draft)) is not None}
        except (OSError, PluginExecError) as error:
            log.warning("cannot remove what is left in %s: %s", self._directory, error)
            return
        with contextlib.ExitStack() as stack:
            for lock in claimed.values():
                stack.callback(release_lock, lock)
            for draft in claimed:
                _discard(draft)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = await_lock(self._directory / ".lock", _LOCK_TIMEOUT)
        if lock is None:
            raise DeadlineExceeded(f"another command is changing {str(self._directory)!r}")
        try:
            yield
        finally:
            release_lock(lock)

    def _check_free(self, files: ManagedFiles) -> None:
        name = files.directory.name
        hint = "remove it first, or choose another name"
        if files.exist():
            raise AlreadyExists("plugin already exists", operation="create", id=name, hint=hint)
        if name in Records(self.layout).ids():
            problem = "this id belongs to a plugin that is not managed"
            raise AlreadyExists(problem, operation="create", id=name, hint=hint)

    def _read(self, name: str, path: Path) -> dict[str, Any]:
        try:
            return read_whole(path, name)
        except NotFound as error:
            raise _missing(name) from error


def check_name(name: str) -> str:
    """Return a valid name: one that is an id, and so without docker's ``/`` and ``:``."""
    if "/" in name or ":" in name:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", name.removesuffix(":latest")).strip("-")
        hint = f"use {plain!r}" if plain else "use another name"
        raise InvalidArgument(f"name {shown(name)} contains '/' or ':', which an id cannot", hint=hint)
    return check_id(name)


def _claim(draft: Path) -> int | None:
    """Return a descriptor by which this process removes a draft; ``None`` if another process works on it."""
    try:
        return take_lock(draft / "lock", make=False)
    except FileNotFoundError:  # its process was killed before it made the lock, or while it removed the draft
        return os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _discard(directory: Path) -> None:
    """Unmount what is mounted in a directory, and remove it.

    What cannot be removed stays, and stops no command; all stays while something is mounted, to delete no mounted data.
    """
    if unmount_below(directory):
        trees.remove(directory)
    else:
        log.warning("something is still mounted below %s; not removing it", directory)


def _missing(name: str, where: str = "") -> NotFound:
    return NotFound(f"no such managed plugin: {shown(name)}", hint=f"'pluginexec plugin ls' lists all{where}")


def _unreadable(name: str, error: Exception) -> Unknown:
    return Unknown(f"cannot read its files: {error}", id=name, hint="'pluginexec plugin rm' removes it")
