"""``pluginexec restore``: after a crash or a reboot, bring what is written down in line with what is."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_id
from pluginexec.daemon.private import ensure_running
from pluginexec.host.adopt import adopt, unrecorded_ids
from pluginexec.host.host import Host


@click.command(name="restore")
@click.argument("ids", metavar="[ID...]", nargs=-1, shell_complete=complete_id)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Find out what became of plugins after a crash or a reboot; print each id and its state. By default all.

    Those that run are left running. Of those that have ended, the exit code is written down, and what they printed last
    goes to their log. Plugins that a program made with this root directory and left behind get a record, so that the
    other commands know them. Those whose output waits for a reader run on; 'pluginexec attach' reads it.
    """
    host = Host(settings.root)

    def restore(id: str) -> None:
        if id in host.records.ids():
            state = host.reconcile(id)
        else:
            state = adopt(host, id, ensure_running(settings.address, settings.root).address, settings.namespace)
        click.echo(f"{id} {state.status}" + ("" if state.exit_code is None else f" {state.exit_code}"))

    return for_each(ids or (*host.records.ids(), *unrecorded_ids(host)), restore, echo=False)
