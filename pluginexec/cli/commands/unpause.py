"""``pluginexec unpause``: resume all processes of paused plugins."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.references import resolve
from pluginexec.host.host import Host
from pluginexec.host.pause import unpause


@click.command(name="unpause")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Resume all processes of paused plugins.

    Prints each ID. A plugin that is not running or not paused is an error; the others are resumed nevertheless.
    """
    host = Host(settings.layout, settings.timeout)
    return for_each(ids, lambda id: unpause(host, resolve(settings, host, id)))
