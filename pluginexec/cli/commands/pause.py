"""``pluginexec pause``: pause all processes of plugins."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.references import resolve
from pluginexec.host.host import Host
from pluginexec.host.pause import pause


@click.command(name="pause")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Pause all processes of plugins until 'pluginexec unpause'. They keep their memory and use no CPU.

    Prints each ID. A plugin that is not running or already paused is an error; the others are paused nevertheless.
    """
    host = Host(settings.layout, settings.timeout)
    return for_each(ids, lambda id: pause(host, resolve(settings, host, id)))
