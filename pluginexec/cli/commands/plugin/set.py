"""``pluginexec plugin set``: change the settings of a managed plugin."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_disabled
from pluginexec.host.managed.manager import ManagedHost


@click.command(name="set")
@click.argument("name", metavar="NAME", shell_complete=complete_disabled)
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.pass_obj
def command(settings: Settings, name: str, pairs: tuple[str, ...]) -> None:
    """Change the settings of a disabled plugin; if one is wrong, none is changed.

    KEY names what is settable in its config.json: an environment variable (DEBUG=1), a mount
    (state.source=/srv), a device (disk.path=/dev/sdb) or the arguments (args="-v -x").
    """
    host = ManagedHost(settings.layout, settings.timeout)
    host.set(host.store.resolve(name), pairs)
