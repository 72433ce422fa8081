"""``pluginexec plugin logs``: what a managed plugin has printed, in all of its lives."""

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
def command(settings: Settings, /, name: str, **asked: Any) -> None:
    """Print what a managed plugin has printed, also since it was last disabled: as 'pluginexec logs' does."""
    host = ManagedHost(settings.root)
    name = host.store.resolve(name)
    if host.record(name):  # else it was never enabled
        show_log(host.host, name, **asked)
