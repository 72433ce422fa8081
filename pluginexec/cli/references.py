"""The plugin that is meant by an id on the command line."""

from __future__ import annotations

from pluginexec.cli.globals import Settings
from pluginexec.host.host import Host
from pluginexec.host.programs import supervisor


def resolve(settings: Settings, host: Host, reference: str) -> str:
    """Return the id that is meant; a plugin that a program has left behind without a record gets one."""
    id = host.records.resolve(reference)
    if not host.records.is_recorded(id) and host.files(id).exist() and not supervisor(host.layout, id):
        from pluginexec.daemon.private import ensure_running
        from pluginexec.host.adopt import adopt

        adopt(host, id, ensure_running(settings.address, host.layout, settings.timeout).address, settings.namespace)
    return id
