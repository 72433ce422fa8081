"""The private containerd of a root, inspected and stopped, by any process."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import psutil

from pluginexec.containerd.remote import DEFAULT_TIMEOUT, Remote
from pluginexec.daemon.containerd import Containerd
from pluginexec.daemon.files import DaemonFiles, Taken
from pluginexec.daemon.lost_shims import sweep_lost_shims
from pluginexec.daemon.private import is_private, private_containerd, private_files
from pluginexec.errors import FailedPrecondition, NotFound, PluginExecError
from pluginexec.host.host import Host
from pluginexec.host.records import Records, is_alive
from pluginexec.host.side_by_side import side_by_side
from pluginexec.linux import machine
from pluginexec.root.layout import Layout
from pluginexec.types import TaskState

log = logging.getLogger(__name__)

RUNNING, SILENT, STOPPED = "running", "not answering", "stopped"
_TAKEN_PATIENCE = 1.0
"""Seconds for which a command that starts it may hold its lock."""
_GRACE = 10.0
"""Seconds from SIGTERM to SIGKILL of a plugin."""
_POLL = 0.02


@dataclass(frozen=True)
class DaemonStatus:
    """What the private containerd does.

    ``plugins`` is how many containers run on it, in all namespaces; where it cannot be asked, how many of our records.
    """

    state: str
    address: str
    log: Path
    pid: int | None = None
    version: str = ""
    started_at: datetime | None = None
    plugins: int = 0
    watched_by: int | None = None
    """The pid of the process that starts it again when it dies."""


def status(layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> DaemonStatus:
    """Find out what the private containerd of a root does; one that gives no answer within ``timeout`` s is silent."""
    files = private_files(layout)
    pid = next(files.processes(), None)
    if pid is None:
        return DaemonStatus(STOPPED, files.address, files.log, plugins=len(_running(Records(layout))))
    try:
        remote = Remote(files.address, timeout=timeout)
        version = remote.new_client("default").server_version()
        state, plugins = RUNNING, _count_plugins(remote)
    except PluginExecError as error:
        log.debug("%s", error)
        state, version, plugins = SILENT, "", len(_running(Records(layout)))
    holders = machine.lock_holders(files.lock)
    watcher = holders[0].pid if holders else None
    return DaemonStatus(state, files.address, files.log, pid, version, _started_at(pid), plugins, watcher)


def _count_plugins(remote: Remote) -> int:
    clients = map(remote.new_client, remote.new_client("default").namespaces())
    return sum(task.state is not TaskState.STOPPED for client in clients for task in client.tasks().values())


def _started_at(pid: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(psutil.Process(pid).create_time(), timezone.utc)
    except psutil.Error:
        return None


def stop(layout: Layout, *, plugins: bool, timeout: float = DEFAULT_TIMEOUT) -> bool:
    """Stop the private containerd of a root; return whether there was anything to stop.

    What it runs goes on, and the next command's containerd has it; with ``plugins``, that is stopped first. Raises
    ``FailedPrecondition`` where another process watches it. ``timeout`` as of ``Containerd``.
    """
    files = private_files(layout)
    if next(files.processes(), None) is None and not (plugins and _has_bundles(files)):
        return False
    layout.make()  # before containerd's own directory, whose parents are not as private
    containerd = private_containerd(layout, leave_tasks=not plugins, timeout=timeout)
    _take(containerd, files)
    try:
        if plugins:
            _stop_plugins(Host(layout, timeout))
            sweep_lost_shims(containerd.remote, layout, is_private=True)
    finally:
        containerd.stop()
    return True


def _has_bundles(files: DaemonFiles) -> bool:
    # A containerd that was killed has left what it ran.
    return any(files.tasks.glob("*/*"))


def _take(containerd: Containerd, files: DaemonFiles) -> None:
    """Adopt it, so that it is ours to stop."""
    deadline = time.monotonic() + _TAKEN_PATIENCE
    while True:
        try:
            containerd.start()
            return
        except Taken as error:
            if time.monotonic() > deadline:
                holders = machine.lock_holders(files.lock)
                who = f"{holders[0].name} (pid {holders[0].pid})" if holders else "another process"
                raise FailedPrecondition(
                    f"{who} watches the private containerd, and would start it again",
                    operation="stop containerd",
                    hint="stop that first: 'pluginexec serve', or a 'pluginexec run' in the foreground",
                ) from error
        time.sleep(_POLL)


def _stop_plugins(host: Host) -> None:
    """Stop the plugins that have a record, so that it says how they ended; all else the end of containerd kills."""
    ids = _running(host.records)
    for id in ids:  # all of them before any ends: no policy starts one again
        host.records.mark_stopped(id)
    for error in side_by_side(lambda id: _stop_plugin(id, host), ids):
        if error:
            raise error


def _running(records: Records) -> list[str]:
    return [id for id in records.ids() if _runs_here(records, id)]


def _runs_here(records: Records, id: str) -> bool:
    try:
        state = records.state(id)
        return is_private(records.record(id).address, records.layout) and (
            is_alive(state) or state.status == "restarting"
        )
    except PluginExecError as error:  # removed meanwhile, or its record is broken
        log.debug("%s", error)
        return False


def _stop_plugin(id: str, host: Host) -> None:
    try:
        host.stop(id, _GRACE)
    except NotFound:  # --rm
        pass
    except PluginExecError as error:
        log.warning("%s; it is killed", error)
