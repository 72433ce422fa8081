"""Pausing plugins: all their processes frozen, and let go on."""

from __future__ import annotations

from pluginexec.containerd.client import Client
from pluginexec.errors import FailedPrecondition
from pluginexec.host.host import Host
from pluginexec.host.records import is_alive
from pluginexec.linux.cgroups import cgroup_of, is_paused


def pause(host: Host, id: str) -> None:
    """Freeze all processes of a plugin; ``FailedPrecondition`` if it does not run, or is paused."""
    client = _client_of_running(host, id, "pause")
    # Where the kernel cannot be asked containerd says it, in words of its own.
    if _is_paused(host, id):
        raise FailedPrecondition("it is already paused", operation="pause", id=id)
    client.pause(id)


def unpause(host: Host, id: str) -> None:
    """Let the processes of a plugin go on; ``FailedPrecondition`` if it is not paused."""
    client = _client_of_running(host, id, "unpause")
    if _is_paused(host, id) is False:
        raise FailedPrecondition("it is not paused", operation="unpause", id=id)
    client.resume(id)


def _client_of_running(host: Host, id: str, operation: str) -> Client:
    if not is_alive(host.records.state(id)):
        hint = "'pluginexec ps' lists what is"
        raise FailedPrecondition("it is not running", operation=operation, id=id, hint=hint)
    record = host.records.record(id)
    return host.remote(record).new_client(record.namespace)


def _is_paused(host: Host, id: str) -> bool | None:
    return is_paused(cgroup_of(host.records.state(id).pid, host.records.spec(id)))
