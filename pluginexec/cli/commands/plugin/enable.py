"""``pluginexec plugin enable``: start a managed plugin."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_disabled
from pluginexec.cli.output import put
from pluginexec.cli.progress import progress
from pluginexec.cli.seconds import Seconds
from pluginexec.host.managed.manager import ENABLE_TIMEOUT, ManagedHost


@click.command(name="enable")
@click.option(
    "--timeout", type=Seconds(zero=True), default=ENABLE_TIMEOUT, show_default=True, metavar="SECONDS",
    help="Fail unless it answers within this time.",
)  # fmt: skip
@click.argument("name", metavar="NAME", shell_complete=complete_disabled)
@click.pass_obj
def command(settings: Settings, name: str, timeout: float) -> None:
    """Start a plugin in the background, and wait until it answers on its socket to Plugin.Activate; print its name.

    It keeps running without a process of pluginexec. If it ends before it answers, or does not answer in time, the
    command fails and says why; only the log of the plugin is left then.
    """
    host = ManagedHost(settings.layout, settings.timeout)
    with progress(f"enabling {name}"):
        host.enable(host.store.resolve(name), settings.address, settings.namespace, timeout)
    put(name)
