"""``pluginexec logs``: fetch the logs of a plugin."""

from __future__ import annotations

from typing import Any

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_id
from pluginexec.cli.log_output import log_options, show_log
from pluginexec.cli.references import resolve
from pluginexec.host.host import Host
from pluginexec.host.programs import check_output


@click.command(name="logs")
@log_options
@click.argument("id", metavar="ID", shell_complete=complete_id)
@click.pass_obj
def command(settings: Settings, /, id: str, **options: Any) -> None:
    """Fetch the logs of a plugin; its stdout goes to stdout, its stderr to stderr.

    -t, --since and --until need the log driver json-file; raw logs have no timestamps. -f also follows the log across
    rotations, up to its end.
    """
    host = Host(settings.layout, settings.timeout)
    id = resolve(settings, host, id)
    check_output(host.records, id, "logs")
    show_log(host, id, **options)
