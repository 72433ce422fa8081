"""``pluginexec create``: create a plugin without starting it."""

from __future__ import annotations

from typing import Any

import click

from pluginexec.cli.container_options import ContainerFlags
from pluginexec.cli.create_options import creating_options, planned
from pluginexec.cli.globals import Settings
from pluginexec.cli.output import put
from pluginexec.host.records import Records


@click.command(name="create", context_settings={"allow_interspersed_args": False})
@creating_options
@click.pass_obj
def command(settings: Settings, /, flags: ContainerFlags, **options: Any) -> None:
    """Create a plugin without starting it, and print its ID; 'pluginexec start' starts it in the background."""
    record, spec = planned(settings, flags, detached=True, **options)
    Records(settings.layout).create(record, spec)
    put(record.id)
