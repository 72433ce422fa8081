"""The containerd of a test run: one for each worker, one for all of them, or one that is there."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from pluginexec.containerd.remote import Remote
from pluginexec.daemon.containerd import Containerd
from pluginexec.daemon.files import Taken
from pluginexec.daemon.private import directory, ensure_private
from pluginexec.testing.options import Settings
from pluginexec.testing.run_directories import Place


@dataclass(frozen=True)
class Daemon:
    """A containerd for tests; what the fixture ``containerd`` gives.

    - ``remote``: how to reach it, with the runtime that was chosen;
    - ``alone``: whether all that it runs is of this pytest process, and of nobody else;
    - ``log_path``: the file that it logs to; ``None`` for one that was there.
    """

    remote: Remote
    alone: bool
    log_path: Path | None = None

    @property
    def address(self) -> str:
        """The path of its socket."""
        return self.remote.address


def start(settings: Settings, place: Place, run: str | None, held: contextlib.ExitStack) -> Daemon:
    """Return the containerd that was chosen; a private one is started, and ended in the end by whoever is the last.

    ``run`` names the run of xdist that this process is a worker of. How to let go of what is started is put on
    ``held`` before that is done: an interrupt may come at any time.
    """
    if settings.address:
        return Daemon(Remote(settings.address, runtime=settings.runtime), alone=False)
    alone = not (settings.shared and run)
    if not alone:
        place = Place(f"shared-{run}", shared=True)
        held.callback(place.close)
    root = place.directory
    containerd = Containerd(directory(root), leave_tasks=True)
    held.callback(containerd.leave)  # it is stopped as its place is closed
    try:
        containerd.start()
    except Taken:  # another worker starts it, or watches it
        ensure_private(root)
    return Daemon(replace(containerd.remote, runtime=settings.runtime), alone, containerd.log_path)
