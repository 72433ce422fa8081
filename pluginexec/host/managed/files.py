"""The files of one managed plugin of a root, and the preparation of a start.

::

    ROOT/managed/NAME/
      lock              flock: held while it is enabled, disabled, set or removed
      managed.json      the options of its creation
      bundle/           config.json, docker's PluginConfig, and rootfs/
      settings.json     its settings, which `plugin set` changes
      exec/             its /run/docker/plugins, with its socket
      propagated-mount/ where its mounts appear on the host
      activated.json    its answer to Plugin.Activate; exists while it is enabled

Its record is ``ROOT/plugins/NAME``, created with ``LABEL`` when it is first enabled; its logs are there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pluginexec.errors import FailedPrecondition, NotFound
from pluginexec.host.records import Record, Records
from pluginexec.root.layout import Layout
from pluginexec.validation import check_id

if TYPE_CHECKING:
    from pluginexec.managed.directories import PluginDirectories

LABEL = "pluginexec.managed"
"""The label of a managed plugin's record; its value is the name, which is also the id."""


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
    def of(cls, layout: Layout, name: str) -> ManagedFiles:
        """Return the files of a plugin of a root."""
        return cls(layout.managed / check_id(name))

    @property
    def directories(self) -> PluginDirectories:
        """Return the directories of its socket and its mounts."""
        # Imported here, because all commands import this module, and few concern managed plugins.
        from pluginexec.managed.directories import PluginDirectories

        return PluginDirectories(self.directory)

    def exist(self) -> bool:
        """Return whether there is such a plugin."""
        return self.managed.exists()

    def make_ready(self) -> None:
        """Create the directories that a start needs; the plugin must not run.

        The socket of the last run is removed, because the plugin could not bind while it exists.
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


def managed_files(layout: Layout, record: Record) -> ManagedFiles | None:
    """Return the files of a record's managed plugin; ``None`` if it is not managed, or has no files."""
    if record.labels.get(LABEL) != record.id:
        return None
    files = ManagedFiles.of(layout, record.id)
    return files if files.exist() else None


def check_not_managed(layout: Layout, record: Record, operation: str, instead: str) -> None:
    """Raise ``FailedPrecondition`` if the plugin is managed; the hint ``instead`` names the command to use."""
    if managed_files(layout, record):
        raise FailedPrecondition("it is a managed plugin", operation=operation, id=record.id, hint=instead)
