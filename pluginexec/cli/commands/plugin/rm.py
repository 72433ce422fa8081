"""``pluginexec plugin rm``: remove managed plugins."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_managed
from pluginexec.host.managed.manager import ManagedHost


@click.command(name="rm")
@click.option("--force", "-f", is_flag=True, help="Disable enabled plugins first.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_managed)
@click.pass_obj
def command(settings: Settings, force: bool, names: tuple[str, ...]) -> int:
    """Remove disabled plugins with their logs and stored data."""
    host = ManagedHost(settings.layout, settings.timeout)
    return for_each(names, lambda name: host.remove(host.store.resolve(name), force=force))
