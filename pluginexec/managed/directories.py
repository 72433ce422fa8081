"""The directories of one plugin on the host: for its socket, and for the mounts that it shares with the host.

::

    DIRECTORY/
      exec/                the plugin's /run/docker/plugins, with its socket
      propagated-mount/    a shared mount while the plugin is enabled, if its configuration has a propagatedmount
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from pluginexec.linux import mounts, trees
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import file_error
from pluginexec.linux.mounts import mount_points_below, unmount_below
from pluginexec.managed.config import PluginConfig

log = logging.getLogger(__name__)


class PluginDirectories:
    """The directories of one plugin, below a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exec_dir = directory / "exec"
        self.propagated_mount = directory / "propagated-mount"

    def socket(self, config: PluginConfig) -> Path:
        """Return the path of the plugin's socket on the host."""
        return self.exec_dir / config.socket

    def prepare(self, config: PluginConfig) -> None:
        """Create the directories and the shared mount for a start, and remove the socket of the last run.

        Raises ``PermissionDenied`` if this user may not mount, and what ``file_error`` returns for other failures.
        """
        try:
            self.clear()
            for each in (self.directory, self.exec_dir):
                make_directory(each)
            # The user that the plugin runs as must be able to create its socket.
            os.chown(self.exec_dir, config.uid, config.gid)
            if config.propagated_mount:
                self.propagated_mount.mkdir(mode=0o755, exist_ok=True)
                mounts.mount(str(self.propagated_mount), str(self.propagated_mount), mounts.MS_BIND)
                mounts.mount("none", str(self.propagated_mount), mounts.MS_SHARED | mounts.MS_REC)
        except OSError as error:
            self.clear()
            raise file_error(error, f"directory {str(self.directory)!r} cannot be prepared") from error
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Unmount what the plugin has mounted, and the shared mount; remove the socket. May be called at any time.

        Files that the plugin has stored in its propagated mount stay.
        """
        if not unmount_below(self.directory):
            log.warning("something is still mounted below %s; not removing it", self.directory)
            return
        trees.remove(self.exec_dir)
        for path in (self.propagated_mount, self.directory):
            with contextlib.suppress(OSError):  # it does not exist, or something is stored in it
                path.rmdir()

    def remove(self) -> None:
        """Clear the directories, and remove what the plugin has stored; other files in ``directory`` stay."""
        self.clear()
        if not mount_points_below(self.directory):
            trees.remove(self.propagated_mount)
            with contextlib.suppress(OSError):  # it does not exist, or something else is in it
                self.directory.rmdir()
