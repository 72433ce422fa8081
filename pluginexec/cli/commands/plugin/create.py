"""``pluginexec plugin create``: create a managed plugin from its bundle."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from pluginexec.cli.create_options import log_opt_option, pairs, restart_option
from pluginexec.cli.globals import Settings
from pluginexec.cli.output import put
from pluginexec.cli.progress import progress
from pluginexec.host.logs.drivers import DRIVERS, JSON_FILE, check_options
from pluginexec.host.managed.store import Managed, ManagedStore, check_name
from pluginexec.restart_policy import parse_policy


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

    Both are copied, and NAME is printed; 'pluginexec plugin enable' starts it. A name is letters and digits, joined by
    single '.', '_' or '-'; docker's names with '/' or ':' are refused. --restart always acts as unless-stopped: a
    disabled plugin stays disabled.
    """
    check_name(name)
    options = pairs("--log-opt", log_opts)
    check_options(log_driver, options)
    parse_policy(restart)
    managed = Managed(name, datetime.now(timezone.utc), restart, log_driver, options)
    with progress(f"creating {name}"):
        ManagedStore(settings.layout).create(managed, source)
    put(name)
