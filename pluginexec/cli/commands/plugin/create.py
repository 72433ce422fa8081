"""``pluginexec plugin create``: create a managed plugin from its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import click

from pluginexec.cli.create_options import log_opt_option, pairs, restart_option, warn_if_forgotten
from pluginexec.cli.globals import Settings
from pluginexec.cli.output import put
from pluginexec.cli.progress import progress
from pluginexec.errors import one_line, shown
from pluginexec.host.logs.drivers import DRIVERS, JSON_FILE, check_options
from pluginexec.host.managed.store import Managed, ManagedStore, check_name
from pluginexec.managed.privileges import Privilege, privileges


@click.command(name="create")
@restart_option
@click.option(
    "--log-driver",
    type=click.Choice(DRIVERS),
    default=JSON_FILE,
    show_default=True,
    help="Where its output goes. json-file: docker's format, with timestamps and rotation; raw: two plain files; none.",
)
@log_opt_option
@click.argument("name", metavar="NAME")
@click.argument("source", metavar="DIRECTORY|TAR", type=click.Path())
@click.pass_obj
def command(
    settings: Settings, name: str, source: str, restart: str, log_driver: str, log_opts: tuple[str, ...]
) -> None:
    """Create a managed plugin from a directory or a tar with config.json (docker's PluginConfig) and rootfs/.

    Both are copied, and NAME is printed; 'pluginexec plugin enable' starts it. What it asks for beyond what every
    plugin may do is listed on stderr: enable only what you would give that. A name is letters and digits, joined by
    single '.', '_' or '-'; docker's names with '/' or ':' are refused. --restart always acts as unless-stopped: a
    disabled plugin stays disabled.
    """
    check_name(name)
    options = pairs("--log-opt", log_opts)
    check_options(log_driver, options)
    warn_if_forgotten(settings.layout, restart)
    managed = Managed(name, datetime.now(timezone.utc), restart, log_driver, options)
    with progress(f"creating {name}"):
        store = ManagedStore(settings.layout)
        store.create(managed, source)
    _show(name, privileges(store.config(name)))
    put(name)


def _show(name: str, asked: Sequence[Privilege]) -> None:
    """Print docker's list of privileges, which is asked to be granted there; here it is by enabling the plugin."""
    if asked:
        click.echo(f"Plugin {shown(name)} is requesting the following privileges:", err=True)
    for each in asked:
        click.echo(f" - {each.name}: [{one_line(' '.join(each.values))}]", err=True)
