"""``pluginexec plugin disable``: stop a managed plugin."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_enabled
from pluginexec.cli.progress import progress
from pluginexec.host.managed.manager import DISABLE_TIMEOUT, ManagedHost


@click.command(name="disable")
@click.option(
    "--force", "-f", is_flag=True, expose_value=False,
    help="Docker's, for a plugin that is in use; who uses one is not known here, so it changes nothing.",
)  # fmt: skip
@click.option(
    "--time", "--timeout", "-t", "timeout", type=click.FloatRange(min=0), default=DISABLE_TIMEOUT, show_default=True,
    metavar="SECONDS", help="How long it may take before it is killed.",
)  # fmt: skip
@click.argument("name", metavar="NAME", shell_complete=complete_enabled)
@click.pass_obj
def command(settings: Settings, name: str, timeout: float) -> None:
    """Stop a plugin: SIGTERM, some seconds of patience, then SIGKILL; print its name.

    What it has mounted for the host is unmounted. Its log stays, for 'pluginexec plugin logs'.
    """
    host = ManagedHost(settings.root)
    with progress(f"disabling {name}"):
        host.disable(host.store.resolve(name), timeout)
    click.echo(name)
