"""``pluginexec start``: start created or stopped plugins in the background."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_stopped
from pluginexec.cli.references import resolve
from pluginexec.host.host import Host
from pluginexec.host.managed.files import check_not_managed


@click.command(name="start")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_stopped)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Start created or stopped plugins in the background. Running plugins are left as they are."""
    host = Host(settings.layout, settings.timeout)

    def start(reference: str) -> None:
        id = resolve(settings, host, reference)
        check_not_managed(
            settings.layout, host.records.record(id), "start", f"'pluginexec plugin enable {id}' starts it"
        )
        host.start(id)

    return for_each(ids, start)
