"""Plugins with records, started on a root as ``pluginexec run -d`` does it, and the command in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pluginexec import PLUGIN_NAMESPACE
from pluginexec.host.host import Host
from pluginexec.host.programs import AllRecords
from pluginexec.host.records import Record
from tests.support.harness import PATIENCE
from tests.support.layouts import one_directory
from tests.support.probe import environment, pluginexec


class Plugins:
    """The plugins of one root, on one containerd; their output is discarded."""

    def __init__(
        self, root: Path, address: str, new_id: Callable[[], str], shell: Callable[..., dict[str, Any]]
    ) -> None:
        self.host = Host(one_directory(root))
        self._address = address
        self._new_id = new_id
        self._shell = shell

    @property
    def records(self) -> AllRecords:
        """The records of the root."""
        return self.host.records

    def create(self, script: str = "exec sleep 1000", *, id: str = "", **changes: Any) -> str:
        """Make the record of a plugin that runs a script; return its id. ``resources`` go to the spec."""
        id = id or self._new_id()
        spec = self._shell(id, script)
        spec["linux"]["resources"].update(changes.pop("resources", {}))
        record = Record(id, datetime.now(timezone.utc), self._address, PLUGIN_NAMESPACE, ["sh", "-c", script])
        self.records.create(Record(**(vars(record) | {"log_driver": "none"} | changes)), spec)
        return id

    def run(self, script: str = "exec sleep 1000", **changes: Any) -> str:
        """Make a plugin and start it."""
        id = self.create(script, **changes)
        self.host.start(id)
        return id


def command_line(root: Path, address: str, *arguments: object) -> list[str]:
    """Return the command line of ``pluginexec`` for a root and a containerd."""
    return pluginexec("--root", root, "--address", address, *arguments)


def finished(argv: list[str]) -> tuple[int, list[str], str]:
    """Run a command to its end: its exit code, the lines of its stdout, its stderr."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env=environment(),
    )
    return done.returncode, done.stdout.splitlines(), done.stderr
