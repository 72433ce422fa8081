"""``pluginexec plugin``: docker's managed plugins, without docker; one file per command."""

from __future__ import annotations

import click

from pluginexec.cli.group import LazyGroup

_SECTIONS = {
    "Managed plugins": {
        "create": "Create a managed plugin from a directory or a tar.",
        "enable": "Start a plugin in the background, and wait until it answers.",
        "disable": "Stop a plugin.",
        "set": "Change the settings of a disabled plugin.",
        "rm": "Remove disabled plugins.",
    },
    "Inspect and call": {
        "ls": "List managed plugins.",
        "inspect": "Show the details of managed plugins.",
        "logs": "Print the output of a managed plugin.",
        "call": "Call a method of an enabled plugin, and print its answer.",
    },
}


@click.group(
    name="plugin",
    cls=LazyGroup,
    package="pluginexec.cli.commands.plugin",
    sections=_SECTIONS,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARG...]",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Manage Docker managed plugins: a config.json and a rootfs.

    They need no dockerd. Each is a plugin like any other: ps, exec and stats work on it too, and it keeps running
    without a process of pluginexec.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
