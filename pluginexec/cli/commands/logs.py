"""``pluginexec logs``: fetch the logs of a plugin."""

from __future__ import annotations

from typing import Any

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_id
from pluginexec.cli.log_output import log_options, show_log
from pluginexec.host.host import Host


@click.command(name="logs")
@log_options
@click.argument("id", metavar="ID", shell_complete=complete_id)
@click.pass_obj
def command(settings: Settings, /, id: str, **asked: Any) -> None:
    """Print what a plugin has printed: its stdout to stdout, its stderr to stderr.

    -t, --since and --until need the log driver json-file; a raw log has no times. After -f, the log is shown to its
    end, also where rotation began new files meanwhile.
    """
    host = Host(settings.root)
    show_log(host, host.records.resolve(id), **asked)
