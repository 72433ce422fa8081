"""What one pytest process runs: its place, its containerd, the executors of its tests."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable
from pathlib import Path

from pluginexec.testing.daemons import Daemon, start
from pluginexec.testing.environment import Life
from pluginexec.testing.options import Settings
from pluginexec.testing.run_directories import Place, end_the_dead


class Session:
    """Nothing is made before ``daemon`` is asked for, and ``close`` ends all of it."""

    def __init__(self, settings: Settings, run: str | None) -> None:
        self._settings = settings
        self._run = run
        self._held = contextlib.ExitStack()
        self._place: Place | None = None
        self._numbers = itertools.count(1)

    def daemon(self) -> Daemon:
        """Start or find the containerd; what dead test runs have left is ended first. Called once."""
        end_the_dead()
        self._place = Place("-".join(filter(None, ("pytest", self._run, secrets.token_hex(4)))))
        daemon = start(self._settings, self._place, self._run, self._held)
        (self._place.directory / "address").write_text(daemon.address, encoding="utf-8")
        return daemon

    def new_life(self, daemon: Daemon, busybox: Callable[[], Path]) -> Life:
        """Make the executor of a test."""
        assert self._place
        root = self._place.directory / f"e{next(self._numbers)}"
        return Life(daemon, root, self._settings.timeout, busybox)

    def close(self) -> None:
        """Leave the containerd, and end what is left. May be called again, after an interrupt too."""
        try:
            self._held.close()
        finally:
            if self._place:
                self._place.close()
