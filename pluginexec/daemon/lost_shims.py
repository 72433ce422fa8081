"""Shims that nothing else ends: they have no task, no files and no record, and no command is at work on their id.

They are left where containerd and the command that started them were killed together, or where its failed create could
not be remembered. What an executor remembers it ends itself; see ``cleanup/unfinished``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

from pluginexec.cleanup.inflight import InFlightCommands
from pluginexec.cleanup.shims import end_shim, find_shims
from pluginexec.cleanup.unfinished import Hold, Unfinished, namespaces_in
from pluginexec.containerd.client import Client
from pluginexec.containerd.remote import Remote
from pluginexec.errors import NotFound, PluginExecError
from pluginexec.linux.cgroups import remove_cgroups
from pluginexec.root.layout import Layout
from pluginexec.root.plugin_files import PluginFiles

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LostShim:
    """A shim, and whose it was."""

    pid: int
    namespace: str
    id: str


def find_lost_shims(remote: Remote, layout: Layout, *, is_private: bool) -> list[LostShim]:
    """Find the lost shims of a containerd that answers, of all namespaces; without any shim no command is run.

    ``is_private``: whether all that this containerd runs is of this root. Else only the shims are meant whose runtime
    keeps its state there.
    """
    by_namespace = defaultdict(list)
    for shim in _shims_of(remote.address, layout, is_private=is_private):
        if not _has_files(layout, shim.id) and not (layout.plugins / shim.id).exists():
            by_namespace[shim.namespace].append(shim)
    lost = []
    for namespace, shims in by_namespace.items():
        client = remote.new_client(namespace)
        # In this order: a create that is in flight now is in neither list only if it has failed by then.
        at_work = InFlightCommands(client.ctr.target).ids()
        tasks = client.tasks()
        lost += [shim for shim in shims if shim.id not in at_work and shim.id not in tasks]
    return lost


def sweep_lost_shims(remote: Remote, layout: Layout, *, is_private: bool) -> None:
    """End the lost shims, and what executors remember of this containerd of which no task is left.

    Raises nothing: what cannot be done now the next one does.
    """
    try:
        for shim in find_lost_shims(remote, layout, is_private=is_private):
            client = remote.new_client(shim.namespace)
            _end(client, Unfinished(layout.unfinished, remote.address, shim.namespace), shim.id)
        for namespace in namespaces_in(layout.unfinished, remote.address):
            _finish(remote.new_client(namespace), layout)
    except PluginExecError as error:
        log.debug("cannot look for lost shims now: %s", error)


def _finish(client: Client, layout: Layout) -> None:
    unfinished = Unfinished(layout.unfinished, client.ctr.address, client.namespace)
    leftovers = unfinished.load()
    at_work = InFlightCommands(client.ctr.target).ids()
    tasks = client.tasks()
    for leftover in leftovers:
        is_used = leftover.id in at_work or leftover.id in tasks or _has_files(layout, leftover.id)
        if not is_used:
            _end(client, unfinished, leftover.id, leftover.cgroup)


def _end(client: Client, unfinished: Unfinished, id: str, cgroup: str = "") -> None:
    with unfinished.held(id) as hold:
        if hold is Hold.OURS:
            end_shim(id, client.namespace, client.ctr.address)
            with contextlib.suppress(NotFound):
                client.delete_container(id)
            remove_cgroups(cgroup)
            unfinished.remove(id)


def _has_files(layout: Layout, id: str) -> bool:
    return PluginFiles(layout.containers / id).exist()


def _shims_of(address: str, layout: Layout, *, is_private: bool) -> list[LostShim]:
    shims = []
    for process in find_shims(address):
        with contextlib.suppress(psutil.Error):
            flags = dict(itertools.pairwise(process.cmdline()))
            namespace, id = flags.get("-namespace", ""), flags.get("-id", "")
            if namespace and id and (is_private or _runtime_root(Path(process.cwd())) == str(layout.runtime_root)):
                shims.append(LostShim(process.pid, namespace, id))
    return shims


def _runtime_root(bundle: Path) -> object:
    try:
        options = json.loads((bundle / "options.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return options.get("root") if isinstance(options, dict) else None
