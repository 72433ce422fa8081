"""``pluginexec stop``: stop running plugins."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each_at_once
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.references import resolve
from pluginexec.cli.seconds import Seconds
from pluginexec.host.host import Host


@click.command(name="stop")
@click.option(
    "--time", "--timeout", "-t", "timeout", type=Seconds(zero=True), default=10.0, show_default=True,
    metavar="SECONDS", help="Seconds to wait before killing the plugin.",
)  # fmt: skip
@click.option(
    "--signal",
    "-s",
    metavar="SIGNAL",
    help="Signal to send first. Default: the plugin's stop signal (SIGTERM unless configured).",
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, timeout: float, signal: str | None, ids: tuple[str, ...]) -> int:
    """Stop running plugins, all at once: send the stop signal, and after a timeout SIGKILL.

    Plugins that are not running are left as they are. Stopped plugins are not restarted by their restart policy;
    'pluginexec start' starts them again.
    """
    host = Host(settings.layout, settings.timeout)
    return for_each_at_once(ids, lambda id: host.stop(resolve(settings, host, id), timeout, signal), "stopping")
