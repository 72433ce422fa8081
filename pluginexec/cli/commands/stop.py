"""``pluginexec stop``: stop plugins, with patience."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.progress import progress
from pluginexec.host.host import Host


@click.command(name="stop")
@click.option(
    "--time", "--timeout", "-t", "timeout", type=click.FloatRange(min=0), default=10.0, show_default=True,
    metavar="SECONDS", help="How long a plugin may take before it is killed.",
)  # fmt: skip
@click.option("--signal", "-s", metavar="SIGNAL", help="The signal to send first; by default its stop signal, SIGTERM.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, timeout: float, signal: str | None, ids: tuple[str, ...]) -> int:
    """Stop plugins: the stop signal, some seconds of patience, then SIGKILL. One that does not run is left as it is.

    No restart policy starts it again; 'pluginexec start' does.
    """
    host = Host(settings.root)

    def stop(reference: str) -> None:
        with progress(f"stopping {reference}"):
            host.stop(host.records.resolve(reference), timeout, signal)

    return for_each(ids, stop)
