"""The fields of a plugin's state that say which process runs, or how it ended."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pluginexec.host.records import State, is_of_another_boot
from pluginexec.linux.boot import boot_id, booted_at
from pluginexec.linux.pidfd import start_seconds
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.types import ExitStatus


def process_fields(pid: int) -> dict[str, Any]:
    """Return what says which process runs."""
    return {"pid": pid, "pid_started": start_seconds(pid) or 0.0, "boot_id": boot_id()}


def exit_fields(status: ExitStatus) -> dict[str, Any]:
    """Return what says how a plugin ended."""
    return {
        "status": "exited",
        "finished_at": status.exited_at,
        "finished_at_is_upper_bound": status.exited_at_is_upper_bound,
        "exit_code": status.exit_code,
        "oom_killed": status.oom_killed,
    }


def recorded_exit(directory: Path, state: State) -> ExitStatus | None:
    """Return how a plugin ended, as an executor wrote it down beside its record before the container was deleted."""
    status = PluginFiles(directory).read_exit()
    if status is None or state.status != "running" or status.pid != state.pid:
        return None
    # That of an earlier run is still there, and a pid may come again.
    return status if not state.started_at or state.started_at <= status.exited_at else None


def unknown_exit(state: State) -> ExitStatus:
    """Return how a plugin ended of which only that is known: by now, or with the boot in which it was started."""
    at = datetime.now(timezone.utc)
    if is_of_another_boot(state):
        at = max(booted_at(), state.started_at or at)  # the clock may have been wrong as it booted
    return ExitStatus(None, at, state.pid, exited_at_is_upper_bound=True)
