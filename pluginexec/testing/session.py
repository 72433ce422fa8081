"""What one pytest process runs: its run directory, its containerd, the executors of its tests."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable
from pathlib import Path

from pluginexec.linux.forks import Maker
from pluginexec.testing.daemons import Daemon, start
from pluginexec.testing.environment import Environment
from pluginexec.testing.options import Settings
from pluginexec.testing.run_directories import RunDirectory, end_stale_runs


class Session:
    """The resources of one pytest process: ``daemon`` acquires them, ``close`` ends them all."""

    def __init__(self, settings: Settings, run: str | None) -> None:
        self._maker = Maker()
        self._settings = settings
        self._run = run
        self._undo = contextlib.ExitStack()
        self._directory: RunDirectory | None = None
        self._numbers = itertools.count(1)

    def daemon(self) -> Daemon:
        """Start or find the containerd, after ending what killed test runs left behind. Called once."""
        end_stale_runs()
        self._directory = RunDirectory("-".join(filter(None, ("pytest", self._run, secrets.token_hex(4)))))
        daemon = start(self._settings, self._directory, self._run, self._undo)
        (self._directory.path / "address").write_text(daemon.address, encoding="utf-8")
        return daemon

    def new_environment(self, daemon: Daemon, busybox: Callable[[], Path]) -> Environment:
        """Make the executor of a test."""
        assert self._directory
        root = self._directory.path / f"e{next(self._numbers)}"
        return Environment(daemon, root, self._settings.timeout, busybox)

    def close(self) -> None:
        """Release the containerd, and end what is left. May be called again, also after an interrupt, or in a fork."""
        if not self._maker.is_this_process():
            return
        try:
            self._undo.close()
        finally:
            if self._directory:
                self._directory.close()
