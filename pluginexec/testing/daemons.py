"""The containerd of a test run: one for each worker, one for all of them, or an existing one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from pluginexec.containerd.remote import Remote
from pluginexec.daemon.files import Taken
from pluginexec.daemon.private import ensure_private, private_containerd
from pluginexec.root.layout import Layout
from pluginexec.testing.options import Settings
from pluginexec.testing.run_directories import RunDirectory


@dataclass(frozen=True)
class Daemon:
    """A containerd for tests, as the fixture ``containerd`` returns it.

    - ``remote``: how to reach it, with the chosen runtime;
    - ``exclusive``: whether everything that it runs belongs to this pytest process;
    - ``log_path``: the file that it logs to; ``None`` for one that existed before.
    """

    remote: Remote
    exclusive: bool
    log_path: Path | None = None

    @property
    def address(self) -> str:
        """The path of its socket."""
        return self.remote.address


def start(settings: Settings, directory: RunDirectory, run: str | None, undo: contextlib.ExitStack) -> Daemon:
    """Return the chosen containerd; a private one is started, and is ended with the last process that uses it.

    ``run`` names the xdist run that this process is a worker of. What releases each resource is put on ``undo`` before
    the resource is acquired: an interrupt may come at any time.
    """
    if settings.address:
        return Daemon(Remote(settings.address, runtime=settings.runtime), exclusive=False)
    exclusive = not (settings.shared and run)
    if not exclusive:
        directory = RunDirectory(f"shared-{run}", shared=True)
        undo.callback(directory.close)
    layout = Layout(directory.path, directory.path)
    containerd = private_containerd(layout)
    undo.callback(containerd.leave)  # it is stopped when its run directory is closed
    try:
        containerd.start()
    except Taken:  # another worker starts it, or supervises it
        ensure_private(layout)
    return Daemon(replace(containerd.remote, runtime=settings.runtime), exclusive, containerd.log_path)
