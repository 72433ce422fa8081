"""Which containerd, root and versions are used, and how many plugins there are; nothing is started for it."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from pluginexec import __version__
from pluginexec.containerd.programs import find_program
from pluginexec.containerd.remote import DEFAULT_TIMEOUT
from pluginexec.daemon.private import choose, is_private, may_be_private, private_address
from pluginexec.daemon.target import Target
from pluginexec.errors import NotFound, PluginExecError, Unknown
from pluginexec.host.host import Host
from pluginexec.host.logs.drivers import DRIVERS
from pluginexec.host.views import view
from pluginexec.linux import machine
from pluginexec.root.layout import Layout


def facts(address: str | None, namespace: str, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> dict[str, Any]:
    """Return all that ``info`` tells; a version that cannot be found out is empty."""
    target = Target.of(address, namespace, layout, timeout)
    used = _address(target)
    return {
        "version": __version__,
        "root": layout.root,
        "state": layout.state,
        "namespace": namespace,
        "address": used,
        "private": is_private(used, layout),
        "listening": target.listening is not None,
        "serve": machine.listens(layout.serve_socket),
        **_count(Host(layout, timeout)),
        "log_driver": DRIVERS[0],
        "containerd_version": _server_version(target),
        "ctr_version": find_program("ctr").version,
        "runc_version": find_program("runc").version,
        "kernel": os.uname().release,
        "cgroup_version": machine.cgroup_version(),
    }


def _address(target: Target) -> str:
    """Return where the next command finds containerd: where one listens, else where it starts one."""
    if target.listening:
        return target.listening.address
    if may_be_private(target.address, target.layout):
        with contextlib.suppress(PluginExecError):  # the directory's path is too long for a socket
            return private_address(target.layout)
    return choose(target.address).address


def _count(host: Host) -> dict[str, int]:
    counts = {"running": 0, "paused": 0, "stopped": 0}
    for id in host.records.all_ids():
        with contextlib.suppress(NotFound, Unknown):  # removed meanwhile, or its record is broken: ps tells
            state = view(host, id)["state"]
            counts[state if state in counts else "stopped"] += 1
    return counts


def _server_version(target: Target) -> str:
    if target.listening:
        with contextlib.suppress(PluginExecError):
            return target.listening.new_client(target.namespace).server_version()
    return ""
