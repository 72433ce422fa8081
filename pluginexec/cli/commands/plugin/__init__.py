"""``pluginexec plugin``: docker's managed plugins, without docker."""

from __future__ import annotations

import click

from pluginexec.cli.group import LazyGroup

_SECTIONS = {
    "Managed plugins": {
        "create": "Create a managed plugin from a directory or a tar.",
        "enable": "Start a plugin in the background, and wait until it answers.",
        "disable": "Stop a plugin.",
        "set": "Change settings of a disabled plugin.",
        "rm": "Remove disabled plugins.",
    },
    "What there is": {
        "ls": "List managed plugins.",
        "inspect": "Show all that is known of managed plugins.",
        "logs": "Print what a managed plugin has printed.",
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

    They need no dockerd: each is a plugin as all others, which ps, exec and stats know too, and which runs without any
    process of pluginexec.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
