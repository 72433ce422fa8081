"""``pluginexec restore``: reconcile the records with containerd after a crash or a reboot."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_id
from pluginexec.cli.output import put
from pluginexec.daemon.lost_shims import sweep_lost_shims
from pluginexec.daemon.private import ensure_running, find_listening, is_private
from pluginexec.host.adopt import adopt
from pluginexec.host.host import Host
from pluginexec.host.programs import supervisor


@click.command(name="restore")
@click.argument("ids", metavar="[ID...]", nargs=-1, shell_complete=complete_id)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Reconcile plugins after a crash or a reboot, and print the ID and state of each. Default: all plugins.

    Running plugins keep running. For plugins that have exited, the exit code is recorded and the remaining output is
    written to the log. Plugins that a program created in this root and left behind get a record; one that a program
    supervises is left to it. If the output of a running plugin has no reader, 'pluginexec attach' reads it. Shims that
    a containerd has lost as it was killed are ended.
    """
    host = Host(settings.layout, settings.timeout)

    def restore(id: str) -> None:
        if host.records.is_recorded(id):
            state = host.reconcile(id)
        elif supervisor(host.layout, id):
            state = host.records.state(id)
        else:
            state = adopt(
                host,
                id,
                ensure_running(settings.address, settings.layout, settings.timeout).address,
                settings.namespace,
            )
        put(f"{id} {state.status}" + ("" if state.exit_code is None else f" {state.exit_code}"))

    code = for_each(ids or host.records.all_ids(), restore, echo=False)
    if remote := find_listening(settings.address, settings.layout, settings.timeout):
        private = is_private(remote.address, settings.layout)
        sweep_lost_shims(remote, settings.layout, is_private=private)
    return code
