"""What is told of a plugin: one dict, with the same keys for ``ps``, ``inspect`` and their formats."""

from __future__ import annotations

import shlex
from typing import Any

from pluginexec.host.host import Host
from pluginexec.host.logs.drivers import log_file
from pluginexec.host.records import State
from pluginexec.linux.cgroups import cgroup_of, is_paused

STATES = ("created", "running", "paused", "restarting", "exited")


def view(host: Host, id: str) -> dict[str, Any]:
    """Return what there is to tell of a plugin now; ``NotFound`` if ``--rm`` has removed it."""
    state = host.current_state(id)
    record = host.records.record(id)
    return {
        "id": id,
        "image": record.image,
        "command": shlex.join(record.command),
        "created_at": record.created_at,
        "state": _state_word(host, id, state),
        "pid": state.pid if state.status == "running" else 0,
        "started_at": state.started_at,
        "finished_at": state.finished_at,
        "finished_at_is_upper_bound": state.finished_at_is_upper_bound,
        "exit_code": state.exit_code,
        "oom_killed": state.oom_killed,
        "error": state.error,
        "restart": record.restart,
        "restart_count": state.restart_count,
        "labels": record.labels,
        "log_driver": record.log_driver,
        "address": record.address,
        "namespace": record.namespace,
    }


def details(host: Host, id: str) -> dict[str, Any]:
    """Return all there is to know of a plugin."""
    record = host.records.record(id)
    log_path = log_file(record, host.records.directory(id))
    spec = host.records.spec(id)
    return {
        **view(host, id),
        "image_digest": record.image_digest,
        "args": record.command,
        "auto_remove": record.auto_remove,
        "stop_signal": record.stop_signal,
        "runtime": record.runtime,
        "detached": record.detached,
        "log_opts": record.log_opts,
        "log_path": str(log_path) if log_path else None,
        "runtime_root": str(host.layout.runtime_root / record.namespace),
        "spec": spec,
    }


def _state_word(host: Host, id: str, state: State) -> str:
    if state.status == "running" and is_paused(cgroup_of(state.pid, host.records.spec(id))):
        return "paused"
    return state.status
