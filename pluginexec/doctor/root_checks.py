"""Checks of the containerd in use, of the root directory, and of leftovers in both."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from pluginexec.cleanup.loggers import find_orphaned_loggers
from pluginexec.cleanup.unfinished import ids_in
from pluginexec.containerd.client import Client
from pluginexec.containerd.versions import TESTED, series
from pluginexec.daemon.lost_shims import find_lost_shims
from pluginexec.daemon.private import choose, is_private, may_be_private, not_listening, private_address, private_files
from pluginexec.daemon.target import Target
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check
from pluginexec.doctor.smoke_test import SCRATCH_PREFIX
from pluginexec.errors import NotFound, PluginExecError, Unknown
from pluginexec.host.records import Records, is_alive
from pluginexec.linux import machine
from pluginexec.linux.directories import names_in
from pluginexec.root.layout import Layout
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.types import TaskState

_MIN_FREE_SPACE = 16 << 20
_SHOWN = 5
_RECONCILE = (
    "run 'pluginexec ps -a', which records how they ended; for those that it does not list, 'pluginexec restore'"
)


def check_socket(target: Target) -> Check:
    """Check which containerd is used, and whether it answers."""
    chosen = choose(target.address).address
    if target.listening is None:
        if not may_be_private(target.address, target.layout):
            error = not_listening(target.address)
            return Check("socket", FAILURE, error.message, error.hint or "")
        private = private_address(target.layout)  # raises if the path is too long for a socket
        return Check("socket", OK, f"no containerd at {chosen}; a private one will be started at {private}")
    address = target.listening.address
    try:
        version = target.listening.new_client(target.namespace).server_version()
    except PluginExecError as error:
        remedy = error.hint or f"restart the containerd at {address}, or choose another with --address"
        return Check("socket", FAILURE, f"{address}: {error}", remedy)
    why = "" if address == chosen else f" (none at {chosen})"
    if series(version) not in TESTED:
        remedy = f"use a tested series ({', '.join(TESTED)}), or run pluginexec's tests on this one"
        message = f"containerd {version} at {address}{why} has not been tested with pluginexec"
        return Check("socket", WARNING, message, remedy)
    return Check("socket", OK, f"containerd {version} answers at {address}{why}")


def check_root(target: Target) -> Check:
    """Check the root directory: type, permissions and free space."""
    root = target.layout.root
    existing = machine.existing_parent(root)
    if not existing.is_dir():
        return Check("root", FAILURE, f"{existing} is not a directory", "choose another with --root")
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check("root", FAILURE, f"{existing} is not writable", "run as root, or choose another with --root")
    free = shutil.disk_usage(existing).free
    type = machine.file_system(existing.resolve()) or "an unknown file system"
    found = f"{root}, on {type}, {free >> 20} MiB free" + ("" if root.exists() else "; it will be created")
    if free < _MIN_FREE_SPACE:
        return Check("root", WARNING, found, "free some space, or choose another with --root")
    if existing == root and stat.S_IMODE(root.stat().st_mode) & 0o022:
        return Check("root", WARNING, f"{found}; others can write to it", f"chmod 700 {root}")
    return Check("root", OK, found)


def check_users(target: Target) -> Check:
    """Check which processes use the root or supervise its private containerd."""
    holders = machine.lock_holders(target.layout.lock)
    exclusive = [holder for holder in holders if holder.exclusive]
    if exclusive:
        message = f"{_processes(exclusive)} uses the root exclusively (an executor without shared=True)"
        return Check("users", WARNING, message, "end it, or choose another root with --root")
    supervising = machine.lock_holders(private_files(target.layout).lock)
    parts = [
        "serve supervises its plugins" if machine.listens(target.layout.serve_socket) else "",
        f"used by {_processes(holders)}" if holders else "",
        f"containerd supervised by {_processes(supervising)}" if supervising else "",
    ]
    return Check("users", OK, "; ".join(part for part in parts if part) or "not in use by any process")


def check_records(target: Target) -> Check:
    """Check for plugins that have exited without a record of it, and for unreadable records."""
    records = Records(target.layout)
    ended, broken, ids = [], [], records.ids()
    for id in ids:
        try:
            state = records.state(id)
            records.record(id)
        except Unknown:
            broken.append(id)
        except NotFound:  # removed meanwhile
            continue
        else:
            if state.status == "running" and not is_alive(state) and not records.is_locked(id):
                ended.append(id)
    if broken:
        where = " ".join(str(records.directory(id)) for id in broken[:_SHOWN])
        return Check("plugins", WARNING, f"unreadable records: {_some(broken)}", f"rm -r {where}")
    if ended:
        message = f"{len(ids)} in total; exited without a record of it: {_some(ended)}"
        return Check("plugins", WARNING, message, _RECONCILE)
    return Check("plugins", OK, f"{len(ids)} in total")


def check_containers(target: Target) -> Check:
    """Check for stopped containers that no process is cleaning up."""
    if target.listening is None:
        return Check("containers", OK, "none, because no containerd is running")
    client = target.listening.new_client(target.namespace)
    containers = client.containers()
    tasks = client.tasks()  # after containers(): a new container must not seem to have no task
    ended = [
        id for id in containers if (id not in tasks or tasks[id].state is TaskState.STOPPED) and not _in_use(target, id)
    ]
    known = [id for id in ended if _is_known(target, id)]
    foreign = [id for id in ended if id not in known]
    if foreign:
        command = f"ctr -a {target.listening.address} -n {target.namespace} containers rm {' '.join(foreign[:_SHOWN])}"
        message = f"stopped, without files in this root: {_some(foreign)}"
        return Check("containers", WARNING, message, f"if they belong to no other root: {command}")
    if known:
        return Check("containers", WARNING, f"stopped, not cleaned up: {_some(known)}", _RECONCILE)
    return Check("containers", OK, f"{len(tasks)} running in namespace {target.namespace}, none stale")


def _is_known(target: Target, id: str) -> bool:
    return (target.layout.containers / id).exists() or Records(target.layout).directory(id).exists()


def _in_use(target: Target, id: str) -> bool:
    layout = target.layout
    locks = (layout.containers / id / "attached", layout.plugins / id / "lock")
    return any(machine.lock_holders(lock) for lock in locks)


def check_leftovers(target: Target) -> Check:
    """Check for FIFOs and loggers without a plugin, and for leftovers of a killed doctor."""
    state = target.layout.state
    scratch = [state / name for name in names_in(state) if name.startswith(SCRATCH_PREFIX)]
    if scratch:
        return Check("leftovers", WARNING, f"left by a killed doctor: {_some(map(str, scratch))}", _removal(scratch[0]))
    live = _live_ids(target)
    loggers = [
        pid for pid, id in find_orphaned_loggers(target.layout.containers) if live is not None and id not in live
    ]
    if loggers:
        message = f"loggers without a plugin: pids {_some(map(str, loggers))}"
        return Check("leftovers", WARNING, message, f"kill -9 {' '.join(map(str, loggers[:_SHOWN]))}")
    fifos = [id for id in _with_fifos(target.layout) if live is not None and id not in live and not _in_use(target, id)]
    orphaned = [id for id in fifos if not Records(target.layout).directory(id).exists()]
    if orphaned:
        where = " ".join(str(target.layout.containers / id) for id in orphaned[:_SHOWN])
        remedy = f"'pluginexec restore' reads their output; or rm -r {where}"
        return Check("leftovers", WARNING, f"FIFOs without a container: {_some(orphaned)}", remedy)
    return _check_shims(target) or Check("leftovers", OK, "none")


def _check_shims(target: Target) -> Check | None:
    """Check for shims that nothing else ends, and for what could not be deleted yet."""
    layout, remote = target.layout, target.listening
    with contextlib.suppress(PluginExecError):  # it cannot be asked: see the check of the socket
        shims = find_lost_shims(remote, layout, is_private=is_private(remote.address, layout)) if remote else []
        if shims:
            message = f"shims without a task: {_some(f'{shim.id} (pid {shim.pid})' for shim in shims)}"
            return Check("leftovers", WARNING, message, "run 'pluginexec restore', which ends them")
    if unfinished := ids_in(layout.unfinished):
        message = f"not deleted, because containerd was away: {_some(unfinished)}"
        return Check("leftovers", WARNING, message, "run 'pluginexec restore' while that containerd runs")
    return None


def _removal(scratch: Path) -> str:
    pids = list(machine.lock_holders(scratch / "lock"))
    return f"rm -r {scratch}" if not pids else f"wait until {_processes(pids)} has exited"


def _live_ids(target: Target) -> set[str] | None:
    """Return the ids that containerd has, or ``None`` if it cannot be asked: then any of them may be running."""
    if target.listening is None:
        return None
    client: Client = target.listening.new_client(target.namespace)
    with contextlib.suppress(PluginExecError):
        return {*client.containers(), *client.tasks()}
    return None


def _with_fifos(layout: Layout) -> list[str]:
    files = (PluginFiles(layout.containers / id) for id in names_in(layout.containers))
    return [each.id for each in files if each.stdout.is_fifo() or each.stderr.is_fifo()]


def _processes(holders: list[machine.Holder]) -> str:
    return _some(f"{holder.name} (pid {holder.pid})" for holder in holders)


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")


CHECKS = (check_socket, check_root, check_users, check_records, check_containers, check_leftovers)
