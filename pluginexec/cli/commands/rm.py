"""``pluginexec rm``: remove plugins and their logs."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_id
from pluginexec.host.host import Host
from pluginexec.host.managed.files import check_not_managed


@click.command(name="rm")
@click.option("--force", "-f", is_flag=True, help="Kill those that run first.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_id)
@click.pass_obj
def command(settings: Settings, force: bool, ids: tuple[str, ...]) -> int:
    """Remove plugins that do not run, with all that is kept of them, their logs too."""
    host = Host(settings.root)

    def remove(reference: str) -> None:
        id = host.records.resolve(reference)
        check_not_managed(settings.root, host.records.record(id), "remove", f"'pluginexec plugin rm {id}' removes it")
        host.remove(id, force=force)

    return for_each(ids, remove)
