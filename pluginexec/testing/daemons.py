"""The containerd of a test run: one for each worker, one for all of them, or one that is there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pluginexec.host.embedded import directory, private_address, watched
from pluginexec.remote import Remote
from pluginexec.testing.places import Place
from pluginexec.testing.settings import Settings


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


@contextlib.contextmanager
def running(settings: Settings, place: Place, run: str | None) -> Iterator[Daemon]:
    """Give the containerd that was chosen; a private one is started, and ended in the end by whoever is the last.

    ``run`` names the run of xdist that this process is a worker of.
    """
    if settings.address:
        yield Daemon(Remote(settings.address, runtime=settings.runtime), alone=False)
    elif settings.shared and run:
        common = Place(f"shared-{run}", shared=True)
        try:
            with _private(common, settings) as daemon:
                yield daemon
        finally:
            common.close()
    else:
        with _private(place, settings) as daemon:  # it is left to the closing of the place, which comes in any case
            yield replace(daemon, alone=True)


@contextlib.contextmanager
def _private(place: Place, settings: Settings) -> Iterator[Daemon]:
    root = place.directory
    with watched(private_address(root), root) as remote:
        log_path = directory(root) / "containerd.log"
        yield Daemon(replace(remote, runtime=settings.runtime), alone=False, log_path=log_path)
