"""The files of one managed plugin of a root, and what must be there before it starts.

::

    ROOT/managed/NAME/
      lock              flock: held by whoever enables, disables, sets or removes it
      managed.json      how it is kept
      bundle/           what it is: config.json, docker's PluginConfig, and rootfs/
      settings.json     what it is enabled with
      exec/             its /run/docker/plugins, with its socket
      propagated-mount/ where its mounts appear on the host
      activated.json    what it has answered to Plugin.Activate; there while it is enabled

Its record is ``ROOT/plugins/NAME``, made when it is enabled for the first time, with ``LABEL``; its logs are there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pluginexec.errors import FailedPrecondition, NotFound
from pluginexec.host.records import Record, Records
from pluginexec.validation import check_id

if TYPE_CHECKING:
    from pluginexec.managed.directories import PluginDirectories

LABEL = "pluginexec.managed"
"""The label of a managed plugin's record; its value is the name, which is the id, too."""


class ManagedFiles:
    """The files of one managed plugin."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = directory / "lock"
        self.managed = directory / "managed.json"
        self.bundle = directory / "bundle"
        self.rootfs = self.bundle / "rootfs"
        self.settings = directory / "settings.json"
        self.activated = directory / "activated.json"

    @classmethod
    def of(cls, root: Path, name: str) -> ManagedFiles:
        """Return those of a plugin of a root."""
        return cls(root / "managed" / check_id(name))

    @property
    def directories(self) -> PluginDirectories:
        """Return the directories of its socket and its mounts."""
        # Imported here, because all commands import this module, and few concern managed plugins.
        from pluginexec.managed.directories import PluginDirectories

        return PluginDirectories(self.directory)

    def exist(self) -> bool:
        """Tell whether there is such a plugin."""
        return self.managed.exists()

    def make_ready(self) -> None:
        """Make the directories that a start needs; the plugin must not run.

        The socket of the last run is removed: with it there, the plugin could not listen.
        """
        from pluginexec.managed.config import load_config

        self.directories.prepare(load_config(self.bundle, quiet=True))


def managed_record(records: Records, name: str) -> Record | None:
    """Return the record of a managed plugin; ``None`` if it was never enabled."""
    with suppress(NotFound):
        record = records.record(name)
        if record.labels.get(LABEL) == name:
            return record
    return None


def managed_files(root: Path, record: Record) -> ManagedFiles | None:
    """Return the files of a record's managed plugin; ``None`` if it is none, or its files are gone."""
    if record.labels.get(LABEL) != record.id:
        return None
    files = ManagedFiles.of(root, record.id)
    return files if files.exist() else None


def check_not_managed(root: Path, record: Record, operation: str, instead: str) -> None:
    """Raise ``FailedPrecondition`` for what is not to be done to a managed plugin; ``instead`` is a hint."""
    if managed_files(root, record):
        raise FailedPrecondition("it is a managed plugin", operation=operation, id=record.id, hint=instead)
