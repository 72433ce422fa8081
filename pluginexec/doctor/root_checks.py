"""The doctor's checks of the containerd that is used, of the root directory, and of what was left behind in both."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pluginexec.containerd.client import Client
from pluginexec.containerd.versions import TRIED, series
from pluginexec.daemon.private import choose, directory, private_address
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check, Place
from pluginexec.doctor.smoke_test import SCRATCH_PREFIX
from pluginexec.errors import NotFound, PluginExecError, Unknown
from pluginexec.host.records import Records, is_alive
from pluginexec.linux import machine
from pluginexec.types import TaskState

_LEAST_SPACE = 16 << 20
_SHOWN = 5
_GONE = " (deleted)"
_SETTLE = "'pluginexec ps -a' finds out how they ended; for those that it does not list, 'pluginexec restore'"


def check_socket(place: Place) -> Check:
    """Tell which containerd is used, and whether it answers."""
    chosen = choose(place.address).address
    if place.listening is None:
        private = private_address(place.root)  # or that this root can have none
        return Check("socket", OK, f"nothing listens at {chosen}; one will be started at {private}")
    address = place.listening.address
    try:
        version = place.listening.new_client(place.namespace).server_version()
    except PluginExecError as error:
        remedy = error.hint or f"restart the containerd of {address}, or choose another with --address"
        return Check("socket", FAILURE, f"{address}: {error}", remedy)
    why = "" if address == chosen else f", for nothing listens at {chosen}"
    if series(version) not in TRIED:
        remedy = f"use one of the series {', '.join(TRIED)}, or run pluginexec's tests on this one"
        return Check("socket", WARNING, f"containerd {version} answers at {address}{why}; it was never tried", remedy)
    return Check("socket", OK, f"containerd {version} answers at {address}{why}")


def check_root(place: Place) -> Check:
    """Tell whether the root directory can be used."""
    root, there = place.root, machine.existing_parent(place.root)
    if not there.is_dir():
        return Check("root", FAILURE, f"{there} is not a directory", "choose another with --root")
    if not os.access(there, os.W_OK | os.X_OK):
        return Check("root", FAILURE, f"{there} cannot be written to", "run it as root, or choose another with --root")
    free = shutil.disk_usage(there).free
    kind = machine.file_system(there.resolve()) or "an unknown file system"
    found = f"{root}, on {kind}, {free >> 20} MiB free" + ("" if root.exists() else "; it will be made")
    if free < _LEAST_SPACE:
        return Check("root", WARNING, found, "make room, or choose another with --root")
    if there == root and stat.S_IMODE(root.stat().st_mode) & 0o022:
        return Check("root", WARNING, f"{found}; others can write to it", f"chmod 700 {root}")
    return Check("root", OK, found)


def check_users(place: Place) -> Check:
    """Tell which processes have the root, or its private containerd, in their hands."""
    holders = machine.lock_holders(place.root / "lock")
    alone = [holder for holder in holders if holder.exclusive]
    if alone:
        said = f"{_processes(alone)} has the root for itself: an executor that does not share it"
        return Check("users", WARNING, said, "end it, or choose another root with --root")
    watching = machine.lock_holders(directory(place.root) / "lock")
    parts = [
        "serve keeps its plugins" if machine.serve_runs(place.root) else "",
        f"used by {_processes(holders)}" if holders else "",
        f"containerd watched by {_processes(watching)}" if watching else "",
    ]
    return Check("users", OK, "; ".join(part for part in parts if part) or "no process uses the root now")


def check_records(place: Place) -> Check:
    """Look for plugins that have ended without anybody writing down how, and for records that cannot be read."""
    records = Records(place.root)
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
        return Check("plugins", WARNING, f"records that cannot be read: {_some(broken)}", f"rm -r {where}")
    if ended:
        said = f"{len(ids)} in all; ended, and nobody looked since: {_some(ended)}"
        return Check("plugins", WARNING, said, _SETTLE)
    return Check("plugins", OK, f"{len(ids)} in all")


def check_containers(place: Place) -> Check:
    """Look for containers that have ended, and that nobody deals with."""
    if place.listening is None:
        return Check("containers", OK, "none, for no containerd listens")
    client = place.listening.new_client(place.namespace)
    containers = client.containers()
    tasks = client.tasks()  # in this order: one that is created meanwhile would have no task
    ended = [
        id for id in containers if (id not in tasks or tasks[id].state is TaskState.STOPPED) and not _in_use(place, id)
    ]
    known = [id for id in ended if _is_known(place, id)]
    strange = [id for id in ended if id not in known]
    if strange:
        command = f"ctr -a {place.listening.address} -n {place.namespace} containers rm {' '.join(strange[:_SHOWN])}"
        said = f"ended, and without files in this root: {_some(strange)}"
        return Check("containers", WARNING, said, f"if no other root has them: {command}")
    if known:
        return Check("containers", WARNING, f"ended, and not dealt with: {_some(known)}", _SETTLE)
    return Check("containers", OK, f"{len(tasks)} run in namespace {place.namespace}, and none is stale")


def _is_known(place: Place, id: str) -> bool:
    return (place.root / "containers" / id).exists() or Records(place.root).directory(id).exists()


def _in_use(place: Place, id: str) -> bool:
    locks = (place.root / "containers" / id / "attached", place.root / "plugins" / id / "lock")
    return any(machine.lock_holders(lock) for lock in locks)


def check_leftovers(place: Place) -> Check:
    """Look for FIFOs and loggers of plugins that are gone, and for what a doctor left that was killed."""
    scratch = sorted(place.root.glob(f"{SCRATCH_PREFIX}*"))
    if scratch:
        return Check("leftovers", WARNING, f"of a doctor that was killed: {_some(map(str, scratch))}", _end(scratch[0]))
    live = _live_ids(place)
    loggers = [pid for pid, id in _lone_loggers(place.root) if live is not None and id not in live]
    if loggers:
        said = f"loggers whose plugin is gone: pids {_some(map(str, loggers))}"
        return Check("leftovers", WARNING, said, f"kill -9 {' '.join(map(str, loggers[:_SHOWN]))}")
    fifos = [id for id in _with_fifos(place.root) if live is not None and id not in live and not _in_use(place, id)]
    unknown = [id for id in fifos if not Records(place.root).directory(id).exists()]
    if unknown:
        where = " ".join(str(place.root / "containers" / id) for id in unknown[:_SHOWN])
        remedy = f"'pluginexec restore' takes what is in them; or rm -r {where}"
        return Check("leftovers", WARNING, f"FIFOs without a container: {_some(unknown)}", remedy)
    return Check("leftovers", OK, "no FIFO or logger without a plugin")


def _end(scratch: Path) -> str:
    pids = list(machine.lock_holders(scratch / "lock"))
    return f"rm -r {scratch}" if not pids else f"wait until {_processes(pids)} has ended"


def _live_ids(place: Place) -> set[str] | None:
    """Return the ids that containerd has; ``None`` where it cannot be asked, for then all may be alive."""
    if place.listening is None:
        return None
    client: Client = place.listening.new_client(place.namespace)
    with contextlib.suppress(PluginExecError):
        return {*client.containers(), *client.tasks()}
    return None


def _with_fifos(root: Path) -> list[str]:
    found = []
    for name in ("stdout", "stderr"):
        found += [path.parent.name for path in root.glob(f"containers/*/{name}") if path.is_fifo()]
    return sorted(set(found))


def _lone_loggers(root: Path) -> Iterator[tuple[int, str]]:
    """Find the loggers of this root whose plugin's files are gone, and the id of each.

    While the files are there, a logger may keep a plugin's last words for whoever reads them.
    """
    above = os.path.join(os.path.realpath(root), "containers", "")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            held = os.readlink(entry / "fd/5")  # what each logger keeps open, see there
            gone = held.startswith(above) and held.endswith(_GONE)
            if gone and b"CONTAINER_ID=" in (entry / "environ").read_bytes():
                yield int(entry.name), Path(held.removesuffix(_GONE)).parent.name


def _processes(holders: list[machine.Holder]) -> str:
    return _some(f"{holder.name} (pid {holder.pid})" for holder in holders)


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")


CHECKS = (check_socket, check_root, check_users, check_records, check_containers, check_leftovers)
