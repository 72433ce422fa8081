"""The peer that a user of the shell has: ``ctr``, by hand."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pluginexec.containerd.client import Client
from pluginexec.containerd.ctr import clean_environment
from pluginexec.streams.shell_logger import NO_LOGGER
from pluginexec.types import TaskState
from tests.bench.arena import Arena

NAMESPACE = "bench.ctr"
_TRIES = 20


class Foreground:
    """Plugins of one namespace, by ``ctr run``."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._argv = ["ctr", "--address", arena.containerd.address, "--namespace", NAMESPACE]
        self.client: Client = arena.containerd.remote.new_client(NAMESPACE)

    def start(self, id: str, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
        """Start a plugin whose output comes through two pipes, and whose process lasts as long as it."""
        argv = [*self._argv, "run", "--config", str(self._config(id, spec)), "--", id]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=clean_environment())

    def run_detached(self, id: str, spec: dict[str, Any], io: Sequence[str] = NO_LOGGER) -> int:
        """Run a plugin in the background, by default without output; return its pid."""
        pid_file = self._arena.directory / "pid"
        config = str(self._config(id, spec))
        self.run("run", "--detach", *io, "--config", config, "--pid-file", str(pid_file), "--", id)
        return int(pid_file.read_text())

    def run(self, *arguments: str) -> float:
        """Run one command; return the seconds that it took."""
        begun = time.perf_counter()
        subprocess.run([*self._argv, *arguments], check=True, stdin=subprocess.DEVNULL, env=clean_environment())
        return time.perf_counter() - begun

    def running(self) -> set[str]:
        """Return the ids of the plugins that run."""
        return {id for id, task in self.client.tasks().items() if task.state is TaskState.RUNNING}

    def remove_ended(self, id: str) -> float:
        """Remove a plugin that has just ended, as soon as that can be; return the seconds that the command took."""
        argv = [*self._argv, "containers", "rm", "--", id]
        for _ in range(_TRIES):
            begun = time.perf_counter()
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=clean_environment())
            if done.returncode == 0:  # before, containerd did not know yet that it has ended
                return time.perf_counter() - begun
        raise AssertionError(f"{id} cannot be removed: {done.stderr!r}")

    def _config(self, id: str, spec: dict[str, Any]) -> Path:
        path = self._arena.directory / f"{id}.json"
        path.write_text(json.dumps(spec))
        return path
