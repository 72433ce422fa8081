"""The view of a managed plugin: a dict with the same keys for ``plugin ls``, ``plugin inspect`` and formats."""

from __future__ import annotations

from typing import Any

from pluginexec.host.logs.drivers import log_file
from pluginexec.host.managed.manager import ManagedHost
from pluginexec.host.views import view

_UP = ("running", "paused", "restarting")
_NEVER_ENABLED = {
    "state": "created",
    "pid": 0,
    "started_at": None,
    "finished_at": None,
    "finished_at_is_upper_bound": False,
    "exit_code": None,
    "oom_killed": False,
    "error": "",
    "restart_count": 0,
}
"""The state of a plugin that was never enabled."""


def managed_view(host: ManagedHost, name: str) -> dict[str, Any]:
    """Return the view of a managed plugin now, without waiting for a lock or starting a containerd."""
    managed, config = host.store.managed(name), host.store.config(name)
    state = view(host.host, name) if host.record(name) else _NEVER_ENABLED
    implements = host.store.implements(name)
    description = next((value for key, value in config.content.items() if key.lower() == "description"), None)
    return {
        "id": name,
        "name": name,
        "description": str(description or ""),
        "enabled": implements is not None and state["state"] in _UP,
        "created_at": managed.created_at,
        **{key: state[key] for key in _NEVER_ENABLED},
        "types": list(config.types),
        "implements": implements or [],
        "restart": managed.restart,
    }


def managed_details(host: ManagedHost, name: str) -> dict[str, Any]:
    """Return the details of a managed plugin; ``config`` has docker's keys, as written in its config.json."""
    managed, config, files = host.store.managed(name), host.store.config(name), host.store.files(name)
    summary, record = managed_view(host, name), host.record(name)
    log_path = log_file(record, host.host.records.directory(name)) if record else None
    return {
        **summary,
        "socket": str(files.directories.socket(config)) if summary["state"] in _UP else None,
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
