"""The managed plugins of one root, on disk: ``ROOT/managed``.

::

    ROOT/managed/
      .lock             flock: held, for a moment, by whoever begins a draft or clears away old ones
      NAME/             a plugin: ``managedfiles`` tells what is in it
      .XXXX/            a draft, or what is left of one that is removed; its lock is held while one is at work
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
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
from pluginexec.host.records import Records, held_lock, read_whole, resolve_prefix, write_whole
from pluginexec.managed.config import PluginConfig, load_config
from pluginexec.managed.directories import unmount_below
from pluginexec.managed.settings import Settings, default_settings
from pluginexec.root import absolute, await_lock, file_error, take_lock
from pluginexec.validation import check_id

log = logging.getLogger(__name__)

_LOCK_TIMEOUT = 60.0
"""Seconds that whoever enables or disables a plugin may have its lock: longer than they wait by default."""


@dataclass(frozen=True)
class Managed:
    """How a managed plugin is kept."""

    name: str
    created_at: datetime
    restart: str = "no"
    log_driver: str = "json-file"
    log_opts: dict[str, str] = field(default_factory=dict)


class ManagedStore:
    """The managed plugins of a root. Every method raises ``NotFound`` for a name without one."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = absolute(root)
        self._directory = self.root / "managed"

    def names(self) -> list[str]:
        """List the names."""
        return sorted(path.parent.name for path in self._directory.glob("[!.]*/managed.json"))

    def resolve(self, reference: str) -> str:
        """Return the name that is meant: a name, or the beginning of just one."""
        name = resolve_prefix(reference, self.names())
        if name is None:
            raise _missing(reference, f" (root: {str(self.root)!r})")
        return name

    def files(self, name: str) -> ManagedFiles:
        """Return the files of a plugin."""
        return ManagedFiles.of(self.root, name)

    def managed(self, name: str) -> Managed:
        """Return how a plugin is kept."""
        content = self._read(name, self.files(name).managed)
        try:
            return Managed(**{**content, "created_at": datetime.fromisoformat(content["created_at"])})
        except (TypeError, ValueError, KeyError) as error:
            raise _not_understood(name, error) from error

    def config(self, name: str) -> PluginConfig:
        """Return what it is."""
        return load_config(self.files(name).bundle, quiet=True)

    def settings(self, name: str) -> Settings:
        """Return what it is enabled with."""
        try:
            return Settings.from_json(self._read(name, self.files(name).settings))
        except (TypeError, ValueError, KeyError) as error:
            raise _not_understood(name, error) from error

    def write_settings(self, name: str, settings: Settings) -> None:
        """Write down what it is to be enabled with; only the holder of the lock may."""
        write_whole(self.files(name).settings, settings.to_json(), name)

    def implements(self, name: str) -> list[str] | None:
        """Return what it has answered to Plugin.Activate; ``None`` if it is not enabled."""
        if not self.files(name).activated.exists():
            return None
        return list(self._read(name, self.files(name).activated).get("implements") or [])

    def write_implements(self, name: str, implements: list[str]) -> None:
        """Write down that it is enabled; only the holder of the lock may."""
        write_whole(self.files(name).activated, {"implements": implements}, name)

    def create(self, managed: Managed, source: str | os.PathLike[str]) -> None:
        """Make a plugin of a directory, or its tar, with ``config.json`` and ``rootfs/``: whole or not at all.

        Raises ``AlreadyExists`` for a name that is taken, ``InvalidArgument`` for a bundle that is wrong: all that is.
        """
        from pluginexec.managed.bundle import unpack  # which imports much that only this needs

        files = self.files(managed.name)
        with self._draft() as draft:
            self._refuse_taken(files)  # before all is copied
            new = ManagedFiles(draft)
            config = load_config(unpack(source, new.bundle), quiet=True)
            write_whole(new.settings, default_settings(config).to_json(), managed.name)
            write_whole(new.managed, {**asdict(managed), "created_at": managed.created_at.isoformat()}, managed.name)
            try:
                draft.rename(files.directory)
            except OSError as error:
                self._refuse_taken(files)
                raise file_error(error, f"directory {str(files.directory)!r} cannot be made") from error

    def remove(self, name: str) -> None:
        """Remove a plugin that does not run; only the holder of the lock may."""
        files = self.files(name)
        try:
            left = Path(tempfile.mkdtemp(prefix=".", dir=self._directory))
            # From here on it is gone; its lock goes along, and whoever finds it free clears the rest away.
            files.directory.rename(left)
            _remove_tree(left)
        except OSError as error:
            raise file_error(error, f"directory {str(files.directory)!r} cannot be removed") from error

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Hold the lock of a plugin; ``DeadlineExceeded`` if somebody else does for long."""
        self._clear_away()
        with held_lock(self.files(name).lock, _LOCK_TIMEOUT, name, _missing(name)):
            yield

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        """Make a directory that is removed in the end, unless it was renamed; nobody else touches it meanwhile."""
        self._clear_away()
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
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
            _remove_tree(draft)
            os.close(lock)

    def _clear_away(self) -> None:
        """Remove what those have left who were killed."""
        drafts = [path for path in self._directory.glob(".*") if path.is_dir()]
        if not drafts:
            return
        with self._locked():
            for draft in drafts:
                try:
                    self._clear(draft)
                except (OSError, PluginExecError) as error:
                    log.warning("cannot remove the leftover %s: %s", draft, error)

    def _clear(self, draft: Path) -> None:
        lock = None
        with contextlib.suppress(FileNotFoundError):  # killed before it made one
            lock = take_lock(draft / "lock", make=False)
            if lock is None:
                return  # somebody is at work on it
        try:
            _remove_tree(draft)
        finally:
            if lock is not None:
                os.close(lock)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = await_lock(self._directory / ".lock", _LOCK_TIMEOUT)
        if lock is None:
            raise DeadlineExceeded(f"another command is changing {str(self._directory)!r}")
        try:
            yield
        finally:
            os.close(lock)

    def _refuse_taken(self, files: ManagedFiles) -> None:
        name = files.directory.name
        hint = "remove it first, or choose another name"
        if files.exist():
            raise AlreadyExists("plugin already exists", operation="create", id=name, hint=hint)
        if name in Records(self.root).ids():
            problem = "this id belongs to a plugin that is not managed"
            raise AlreadyExists(problem, operation="create", id=name, hint=hint)

    def _read(self, name: str, path: Path) -> dict[str, Any]:
        try:
            return read_whole(path, name)
        except NotFound as error:
            raise _missing(name) from error


def check_name(name: str) -> str:
    """Return a name if it can be one: an id, and so without docker's ``/`` and ``:``."""
    if "/" in name or ":" in name:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", name.removesuffix(":latest")).strip("-")
        hint = f"use {plain!r}" if plain else "use another name"
        raise InvalidArgument(f"name {shown(name)} contains '/' or ':', which an id cannot", hint=hint)
    return check_id(name)


def _remove_tree(directory: Path) -> None:
    """Remove a directory, unless something is mounted in it: what that is may be somebody's only copy."""
    if not unmount_below(directory):
        raise OSError(errno.EBUSY, "something is still mounted in it", str(directory))
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def _missing(name: str, where: str = "") -> NotFound:
    return NotFound(f"no such managed plugin: {shown(name)}", hint=f"'pluginexec plugin ls' lists all{where}")


def _not_understood(name: str, error: Exception) -> Unknown:
    return Unknown(f"cannot read its files: {error}", id=name, hint="'pluginexec plugin rm' removes it")
