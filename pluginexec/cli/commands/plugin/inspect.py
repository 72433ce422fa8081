"""``pluginexec plugin inspect``: the details of managed plugins."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_managed
from pluginexec.cli.output import format_option, print_document
from pluginexec.host.managed.manager import ManagedHost
from pluginexec.host.managed.views import managed_details


@click.command(name="inspect")
@format_option(None, default="json")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_managed)
@click.pass_obj
def command(settings: Settings, format: str, names: tuple[str, ...]) -> int:
    """Show the details of managed plugins: state, socket, settings, and config.json.

    Prints one JSON object per line. --format '{{.Enabled}}' prints one field of it, '{{json .Config.Interface}}' a
    part as JSON.
    """
    host = ManagedHost(settings.layout, settings.timeout)

    def inspect(reference: str) -> None:
        print_document(managed_details(host, host.store.resolve(reference)), format)

    return for_each(names, inspect, echo=False)
