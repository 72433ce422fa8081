"""What is told of a managed plugin: one dict, with the same keys for ``plugin ls``, ``plugin inspect`` and formats."""

from __future__ import annotations

from typing import Any

from pluginexec.host.logs.drivers import log_file
from pluginexec.host.managed.manager import ManagedHost
from pluginexec.host.views import view

_UP = ("running", "paused", "restarting")
_OF_A_LIFE = {
    "state": "created",
    "pid": 0,
    "started_at": None,
    "finished_at": None,
    "exit_code": None,
    "oom_killed": False,
    "error": "",
    "restart_count": 0,
}
"""What is told of one that was never enabled."""


def managed_view(host: ManagedHost, name: str) -> dict[str, Any]:
    """Return what there is to tell of a managed plugin now; nobody is waited for, no containerd started."""
    managed, config = host.store.managed(name), host.store.config(name)
    life = view(host.host, name) if host.record(name) else _OF_A_LIFE
    implements = host.store.implements(name)
    description = next((value for key, value in config.content.items() if key.lower() == "description"), None)
    return {
        "id": name,
        "name": name,
        "description": str(description or ""),
        "enabled": implements is not None and life["state"] in _UP,
        "created_at": managed.created_at,
        **{key: life[key] for key in _OF_A_LIFE},
        "types": list(config.types),
        "implements": implements or [],
        "restart": managed.restart,
    }


def managed_details(host: ManagedHost, name: str) -> dict[str, Any]:
    """Return all there is to know of a managed plugin; ``config`` has docker's own keys, as they were written."""
    managed, config, files = host.store.managed(name), host.store.config(name), host.store.files(name)
    told, record = managed_view(host, name), host.record(name)
    log_path = log_file(record, host.host.records.directory(name)) if record else None
    return {
        **told,
        "socket": str(files.directories.socket(config)) if told["state"] in _UP else None,
        "settings": host.store.settings(name).to_json(),
        "config": config.content,
        "rootfs": str(files.rootfs),
        "propagated_mount": str(files.directories.propagated_mount) if config.propagated_mount else None,
        "log_driver": managed.log_driver,
        "log_opts": managed.log_opts,
        "log_path": str(log_path) if log_path else None,
        "address": record.address if record else None,
        "namespace": record.namespace if record else None,
    }
