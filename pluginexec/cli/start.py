"""``pluginexec start``: start plugins that were created, or have ended."""

from __future__ import annotations

import click

from pluginexec.cli.completing import complete_stopped
from pluginexec.cli.each import for_each
from pluginexec.cli.settings import Settings
from pluginexec.host.host import Host


@click.command(name="start")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_stopped)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Start plugins in the background: those that were created, or have ended. One that runs is left as it is."""
    host = Host(settings.root)
    return for_each(ids, lambda id: host.start(host.records.resolve(id)))
