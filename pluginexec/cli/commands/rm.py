"""``pluginexec rm``: remove stopped plugins and their logs."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each_at_once
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_id
from pluginexec.cli.references import resolve
from pluginexec.host.host import Host
from pluginexec.host.managed.files import check_not_managed


@click.command(name="rm")
@click.option("--force", "-f", is_flag=True, help="Kill running plugins first.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_id)
@click.pass_obj
def command(settings: Settings, force: bool, ids: tuple[str, ...]) -> int:
    """Remove stopped plugins and their logs, and everything else that the root has of them."""
    host = Host(settings.layout, settings.timeout)

    def remove(reference: str) -> None:
        id = resolve(settings, host, reference)
        check_not_managed(host.layout, host.records.record(id), "remove", f"'pluginexec plugin rm {id}' removes it")
        host.remove(id, force=force)

    return for_each_at_once(ids, remove, "removing")
