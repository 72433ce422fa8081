"""``pluginexec start``: start plugins that were created, or have ended."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_stopped
from pluginexec.host.host import Host
from pluginexec.host.managed.files import check_not_managed


@click.command(name="start")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_stopped)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Start plugins in the background: those that were created, or have ended. One that runs is left as it is."""
    host = Host(settings.root)

    def start(reference: str) -> None:
        id = host.records.resolve(reference)
        check_not_managed(settings.root, host.records.record(id), "start", f"'pluginexec plugin enable {id}' starts it")
        host.start(id)

    return for_each(ids, start)
