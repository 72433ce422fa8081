"""``pluginexec inspect``: return low-level information on plugins."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_id
from pluginexec.cli.output import format_option, print_document
from pluginexec.host.host import Host
from pluginexec.host.views import details


@click.command(name="inspect")
@format_option(None, default="json", short=True)
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_id)
@click.pass_obj
def command(settings: Settings, format: str, ids: tuple[str, ...]) -> int:
    """Return low-level information on plugins: configuration, state, log file and OCI spec.

    Prints one JSON object per line; --format '{{.State}}' prints one field, '{{json .Spec.process.args}}' a part as
    JSON.
    """
    host = Host(settings.layout, settings.timeout)
    return for_each(ids, lambda id: print_document(details(host, host.records.resolve(id)), format), echo=False)
