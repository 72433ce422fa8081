"""``pluginexec plugin logs``: the output of a managed plugin."""

from __future__ import annotations

from typing import Any

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_managed
from pluginexec.cli.log_output import log_options, show_log
from pluginexec.host.managed.manager import ManagedHost


@click.command(name="logs")
@log_options
@click.argument("name", metavar="NAME", shell_complete=complete_managed)
@click.pass_obj
def command(settings: Settings, /, name: str, **options: Any) -> None:
    """Print the output of a managed plugin, also after it was disabled; options as for 'pluginexec logs'."""
    host = ManagedHost(settings.layout, settings.timeout)
    name = host.store.resolve(name)
    if host.record(name):  # it was enabled at least once
        show_log(host.host, name, **options)
