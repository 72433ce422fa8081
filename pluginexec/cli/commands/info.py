"""``pluginexec info``: display the containerd, root and versions in use."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.output import format_option, print_rows, put
from pluginexec.cli.templates import to_text
from pluginexec.host.info import facts

TITLES = {
    "version": "Version",
    "root": "Root",
    "state": "State directory",
    "namespace": "Namespace",
    "address": "Address",
    "private": "Private containerd",
    "listening": "Listening",
    "serve": "Serve runs",
    "running": "Running",
    "paused": "Paused",
    "stopped": "Stopped",
    "log_driver": "Log driver",
    "containerd_version": "containerd",
    "ctr_version": "ctr",
    "runc_version": "runc",
    "kernel": "Kernel",
    "cgroup_version": "Cgroup version",
}


@click.command(name="info")
@format_option(tuple(TITLES), short=True)
@click.pass_obj
def command(settings: Settings, format: str) -> None:
    """Display the containerd, root and versions in use, and the number of plugins. Does not start containerd."""
    row = facts(settings.address, settings.namespace, settings.layout, settings.timeout)
    if format == "table":
        for key, title in TITLES.items():
            put(f"{title}: {to_text(row[key])}")
    else:
        print_rows([row], format, [(title.upper(), key) for key, title in TITLES.items()])
