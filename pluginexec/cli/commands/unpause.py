"""``pluginexec unpause``: let paused plugins go on."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.host.host import Host
from pluginexec.host.pause import unpause


@click.command(name="unpause")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Let all processes of paused plugins go on.

    Prints each id. One that does not run, or is not paused, is an error, and the others go on all the same.
    """
    host = Host(settings.root)
    return for_each(ids, lambda id: unpause(host, host.records.resolve(id)))
