"""The group of commands: its globals, its help, and each command imported only when it is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
import typing

import click

from pluginexec import __version__

if typing.TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from click.shell_completion import CompletionItem

# The executor's own defaults; to import them from there would double what the help costs.
DEFAULT_ROOT = "/run/pluginexec"
DEFAULT_NAMESPACE = "plugins.moby"
PROGRAM = "pluginexec"
COMPLETE_VARIABLE = "_PLUGINEXEC_COMPLETE"
"""Where click's completion scripts say what they want."""

# Each with its one line of help, so that the help of all imports none. The module has the command's name.
_SECTIONS = {
    "Plugins": {
        "run": "Create a plugin and start it.",
        "create": "Create a plugin without starting it.",
        "start": "Start plugins in the background.",
        "restore": "Find out what became of plugins after a crash or a reboot.",
        "attach": "Show what a running plugin prints from now on, until it ends.",
        "exec": "Run a command in a running plugin.",
        "stop": "Stop plugins: the stop signal, some seconds of patience, then SIGKILL.",
        "kill": "Send a signal to the init process of plugins.",
        "pause": "Freeze all processes of plugins.",
        "unpause": "Let all processes of paused plugins go on.",
        "wait": "Wait until plugins have ended, and print their exit codes.",
        "rm": "Remove plugins that do not run.",
    },
    "What there is": {
        "ps": "List plugins.",
        "logs": "Print what a plugin has printed.",
        "inspect": "Show all that is known of plugins.",
        "stats": "Show what running plugins use of CPU, memory, network, block devices and processes.",
        "events": "Print what happens to plugins, as it happens.",
        "info": "Print which containerd, root and versions are used.",
    },
    "Managed plugins": {
        "plugin": "Manage Docker managed plugins: a config.json and a rootfs.",
    },
    "The host": {
        "doctor": "Find out whether plugins can run here, and what to do if not.",
        "daemon": "Look after the private containerd of the root.",
        "serve": "Supervise the plugins of the root until told to stop.",
        "completion": "Print the script that lets a shell complete commands.",
    },
}


class LazyGroup(click.Group):
    """A group whose commands are modules of a package, each imported only when it is called.

    ``sections``: the headings of its help, and below each the commands with their one line of help.
    """

    def __init__(self, *args: Any, package: str, sections: Mapping[str, Mapping[str, str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._package = package
        self._sections = sections
        self.helps = {name: help for section in sections.values() for name, help in section.items()}
        """Each command with its line of help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all."""
        return sorted(self.helps)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.helps:
            return None
        command = importlib.import_module(f"{self._package}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, aligned with each other."""
        width = max(map(len, self.helps))
        for section, commands in self._sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), help) for name, help in commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may be meant."""
        if args[0] not in self.helps and not ctx.resilient_parsing:
            from pluginexec.cli.suggestions import did_you_mean

            raise click.UsageError(f"no such command: {args[0]}{did_you_mean(args[0], self.helps)}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a name; click's own imports all commands, to ask each for its help."""
        from click.shell_completion import CompletionItem

        names = [name for name in sorted(self.helps) if name.startswith(incomplete)]
        return [
            *(CompletionItem(name, help=self.helps[name]) for name in names),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]


@click.group(
    cls=LazyGroup,
    package="pluginexec.cli.commands",
    sections=_SECTIONS,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARG...]",
)
@click.option(
    "-a",
    "--address",
    metavar="SOCK",
    envvar="PLUGINEXEC_ADDRESS",
    show_envvar=True,
    type=click.Path(),
    help="containerd's socket; by default $CONTAINERD_ADDRESS, else the machine's, else a private containerd.",
)
@click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    envvar="PLUGINEXEC_NAMESPACE",
    show_envvar=True,
    default=DEFAULT_NAMESPACE,
    show_default=True,
    help="containerd's namespace of the plugins.",
)
@click.option(
    "--root",
    metavar="DIR",
    envvar="PLUGINEXEC_ROOT",
    show_envvar=True,
    default=DEFAULT_ROOT,
    show_default=True,
    type=click.Path(file_okay=False),
    help="Where the plugins, their logs and a private containerd are kept.",
)
@click.option(
    "--debug",
    is_flag=True,
    envvar="PLUGINEXEC_DEBUG",
    show_envvar=True,
    help="Tell on stderr what is done, and of an error all that is known.",
)
@click.option(
    "--log-format",
    envvar="PLUGINEXEC_LOG_FORMAT",
    show_envvar=True,
    default="text",
    show_default=True,
    type=click.Choice(["text", "json"]),
    help="How messages and errors are written to stderr; json: one object a line.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, address: str | None, namespace: str, root: str, debug: bool, log_format: str) -> None:
    """Run and supervise plugin containers on containerd, by way of ctr and runc.

    Data goes to stdout and all else to stderr. The exit code of run and exec is the process's own; 125 stands for an
    error of pluginexec, 126 and 127 for a command that cannot be run or is not there, and 128+n for an end by signal n.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return
    from pathlib import Path

    from pluginexec.cli.globals import Settings
    from pluginexec.cli.log_format import configure
    from pluginexec.validation import check_namespace

    if not root:
        raise click.UsageError("the root is empty: give a directory, or leave --root out", ctx)
    ctx.obj = Settings(address, check_namespace(namespace), Path(root).absolute(), debug, log_format)
    configure(debug, log_format)


COMMANDS = cli.helps


def run(arguments: list[str]) -> object:
    """Parse, call the command, and return its exit code."""
    if COMPLETE_VARIABLE in os.environ:
        cli.main(arguments, PROGRAM, COMPLETE_VARIABLE)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of a name that the terminal cannot show, too
    try:
        with cli.make_context(PROGRAM, list(arguments)) as ctx:
            try:
                return cli.invoke(ctx)
            except click.UsageError as error:
                if error.ctx is None:  # of click's parser, which does not know whose options it reads
                    error.ctx = click.Context(cli, ctx, ctx.invoked_subcommand)
                raise
    except click.exceptions.Exit as end:
        return end.exit_code
