"""End what a private containerd ran: through it, and then whatever is left, without it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from pluginexec.cleanup.loggers import find_loggers
from pluginexec.cleanup.shims import cgroups_below, find_shims
from pluginexec.containerd.client import Client
from pluginexec.containerd.remote import Remote
from pluginexec.daemon.files import DaemonFiles
from pluginexec.errors import NotFound, PluginExecError
from pluginexec.linux.cgroups import cgroups_path_of, remove_cgroups
from pluginexec.linux.mounts import mount_points_below, unmount
from pluginexec.linux.poll import wait_readable

log = logging.getLogger(__name__)

_DELETIONS = 8
_RUNC_ROOT = "/run/containerd/runc"
_SHIM_GRACE = 1.0
_KILL_TIMEOUT = 5.0
_ROUNDS = 3


def delete_everything(remote: Remote, namespaces: Iterable[str] | None = None) -> bool:
    """Delete all tasks by force, and all containers, in these namespaces or all; return whether that went well."""
    try:
        work = [
            (client, id, id in tasks)
            for client in map(remote.new_client, namespaces or remote.new_client("default").namespaces())
            for tasks in (client.tasks(),)
            for id in sorted({*tasks, *client.containers()})
        ]
    except PluginExecError as error:
        log.warning("the tasks cannot be listed: %s", error)
        return False
    # Leaving the block waits for every deletion, come what may: one that is cut short leaks its shim.
    with ThreadPoolExecutor(_DELETIONS, thread_name_prefix="pluginexec-delete") as pool:
        return all(list(pool.map(delete_container, *zip(*work, strict=True)))) if work else True


def delete_container(client: Client, id: str, has_task: bool) -> bool:
    """Delete a container, and first, by force, its task; return whether that went well, and log it if not."""
    try:
        if has_task:
            with contextlib.suppress(NotFound):
                client.delete_task(id, force=True)
        with contextlib.suppress(NotFound):
            client.delete_container(id)
    except PluginExecError as error:
        log.warning("%s", error)
        return False
    return True


def sweep(files: DaemonFiles, remote: Remote) -> None:
    """End what outlived containerd: shims and all below them, loggers, the OCI runtime's containers, mounts."""
    _wait(list(find_shims(files.address)), _SHIM_GRACE)  # those whose task is deleted go by themselves
    cgroups = [cgroup for shim in find_shims(files.address) for cgroup in cgroups_below(shim)]
    kill_processes(files)
    for bundle in sorted(files.tasks.glob("*/[!.]*")):  # those with a dot are being deleted
        _delete_runtime_state(remote, bundle)
        cgroups.append(cgroups_path_of(_read_object(bundle / "config.json")))
    for cgroup in cgroups:  # of those whose state the runtime did not write, or has lost
        remove_cgroups(cgroup)
    for directory in (files.state, files.root):
        for point in reversed(mount_points_below(directory)):
            if point != os.path.realpath(directory):  # that one belongs to the caller
                try:
                    unmount(point)
                except OSError as error:
                    log.warning("%s", error)


def kill_processes(files: DaemonFiles) -> None:
    """SIGKILL our shims with all that is below them, and our loggers."""
    kill_trees(lambda: [*find_shims(files.address), *find_loggers(files.tasks)])


def kill_trees(find: Callable[[], Iterable[psutil.Process]]) -> None:
    """SIGKILL what is found, with all that is below it; psutil compares the creation time first."""
    for _ in range(_ROUNDS):  # what is killed may have forked just before
        found = {process.pid: process for top in find() for process in [top, *_descendants(top)]}
        if not found:
            return
        for process in found.values():
            with contextlib.suppress(psutil.Error):
                process.kill()
        _wait(list(found.values()), _KILL_TIMEOUT)
    log.error("still there after SIGKILL: pids %s", sorted(found))


def _wait(processes: list[psutil.Process], timeout: float) -> None:
    # By pidfd, to which a zombie has ended; psutil would wait for init to reap it. One at a time: they may be many.
    deadline = time.monotonic() + timeout
    for process in processes:
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(process.pid)
            try:
                wait_readable(deadline - time.monotonic(), pidfd)
            finally:
                os.close(pidfd)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _delete_runtime_state(remote: Remote, bundle: Path) -> None:
    # The shim would have done this: the container's cgroups go with the runtime's state.
    options = _read_object(bundle / "options.json")
    root = Path(options.get("root") or _RUNC_ROOT)
    runtime = options.get("binary_name") or None
    with _logged():
        client = dataclasses.replace(remote, runtime=runtime).new_client(bundle.parent.name)
        client.delete_runtime_state(bundle.name, root)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except PluginExecError as error:
        log.warning("%s", error)
