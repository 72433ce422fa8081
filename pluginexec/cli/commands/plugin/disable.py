"""``pluginexec plugin disable``: stop a managed plugin."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_enabled
from pluginexec.cli.output import put
from pluginexec.cli.progress import progress
from pluginexec.cli.seconds import Seconds
from pluginexec.host.managed.manager import DISABLE_TIMEOUT, ManagedHost


@click.command(name="disable")
@click.option(
    "--force", "-f", is_flag=True, expose_value=False,
    help="Accepted for compatibility with docker; no effect, because use of a plugin is not tracked.",
)  # fmt: skip
@click.option(
    "--time", "--timeout", "-t", "timeout", type=Seconds(zero=True), default=DISABLE_TIMEOUT, show_default=True,
    metavar="SECONDS", help="Time to wait before it is killed.",
)  # fmt: skip
@click.argument("name", metavar="NAME", shell_complete=complete_enabled)
@click.pass_obj
def command(settings: Settings, name: str, timeout: float) -> None:
    """Stop a plugin with SIGTERM, or with SIGKILL if it takes too long; print its name.

    What it has mounted for the host is unmounted. Its log stays for 'pluginexec plugin logs'.
    """
    host = ManagedHost(settings.layout, settings.timeout)
    with progress(f"disabling {name}"):
        host.disable(host.store.resolve(name), timeout)
    put(name)
