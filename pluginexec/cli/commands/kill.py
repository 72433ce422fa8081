"""``pluginexec kill``: send a signal to running plugins."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each_at_once
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.references import resolve
from pluginexec.host.host import Host


@click.command(name="kill")
@click.option(
    "--signal",
    "-s",
    default="KILL",
    show_default=True,
    metavar="SIGNAL",
    help="Signal to send: a name (TERM, SIGTERM) or a number.",
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, signal: str, ids: tuple[str, ...]) -> int:
    """Send a signal to running plugins (to the init process of each), without waiting for them to exit.

    After SIGKILL or its stop signal, a plugin is not restarted by its restart policy.
    """
    host = Host(settings.layout, settings.timeout)
    return for_each_at_once(ids, lambda id: host.kill(resolve(settings, host, id), signal), "signalling")
