"""The top-level command: global options, help, and commands that are imported only when called."""

from __future__ import annotations

import importlib
import io
import os
import sys
import typing

import click

from pluginexec import __version__
from pluginexec.cli.seconds import Seconds

if typing.TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from click.shell_completion import CompletionItem

    from pluginexec.root.layout import Layout

# The executor's defaults; importing them from there would double the time that --help takes.
DEFAULT_ROOT = "/var/lib/pluginexec"
DEFAULT_NAMESPACE = "plugins.moby"
PROGRAM = "pluginexec"
COMPLETE_VARIABLE = "_PLUGINEXEC_COMPLETE"
"""The environment variable by which click's completion scripts make their request."""

# With the help lines here, --help imports no command. Each module has the name of its command.
_SECTIONS = {
    "Plugins": {
        "run": "Create and run a plugin.",
        "create": "Create a plugin without starting it.",
        "start": "Start created or stopped plugins in the background.",
        "restore": "Reconcile plugins after a crash or a reboot.",
        "attach": "Attach to the output of a running plugin.",
        "exec": "Execute a command in a running plugin.",
        "stop": "Stop running plugins.",
        "kill": "Send a signal to running plugins.",
        "pause": "Pause all processes of plugins.",
        "unpause": "Resume all processes of paused plugins.",
        "wait": "Wait until plugins exit, then print their exit codes.",
        "rm": "Remove stopped plugins and their logs.",
    },
    "Inspect": {
        "ps": "List plugins.",
        "logs": "Fetch the logs of a plugin.",
        "inspect": "Return low-level information on plugins.",
        "stats": "Display a live stream of resource usage statistics.",
        "events": "Print plugin events in real time.",
        "info": "Display the containerd, root and versions in use.",
    },
    "Images": {
        "pull": "Download an image from its registry.",
        "images": "List images.",
        "tag": "Give an image another name.",
        "rmi": "Remove images.",
        "load": "Load images from an archive.",
        "save": "Write images to an archive.",
    },
    "Managed plugins": {
        "plugin": "Manage Docker managed plugins: a config.json and a rootfs.",
    },
    "Host": {
        "doctor": "Check whether plugins can run on this host.",
        "daemon": "Manage the private containerd of the root.",
        "serve": "Supervise the plugins of the root until stopped.",
        "completion": "Print a shell completion script.",
    },
}


class Group(click.Group):
    """A group that says of a command that it does not have what was meant, or what to do instead."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or raise an error with a suggestion."""
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            from pluginexec.cli.suggestions import no_such_word

            group = ctx.command_path.removeprefix(PROGRAM).strip()
            raise click.UsageError(f"no such command: {args[0]}{no_such_word(args[0], names, group)}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group whose commands are modules of a package, each imported only when it is called.

    ``sections`` maps each heading of the help to its commands, and each command to its help line.
    """

    def __init__(self, *args: Any, package: str, sections: Mapping[str, Mapping[str, str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._package = package
        self._sections = sections
        self.helps = {name: help for section in sections.values() for name, help in section.items()}
        """The help line of each command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted(self.helps)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.helps:
            return None
        command = importlib.import_module(f"{self._package}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections with aligned columns."""
        width = max(map(len, self.helps))
        for section, commands in self._sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), help) for name, help in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command name; click's implementation imports every command to read its help."""
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
    help="containerd socket. Default: $CONTAINERD_ADDRESS, else the host's, else a private containerd.",
)
@click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    envvar="PLUGINEXEC_NAMESPACE",
    show_envvar=True,
    default=DEFAULT_NAMESPACE,
    show_default=True,
    help="containerd namespace of the plugins.",
)
@click.option(
    "--root",
    metavar="DIR",
    envvar="PLUGINEXEC_ROOT",
    show_envvar=True,
    default=DEFAULT_ROOT,
    show_default=True,
    type=click.Path(file_okay=False),
    help="Directory for plugins, their logs and the private containerd.",
)
@click.option(
    "--state",
    metavar="DIR",
    envvar="PLUGINEXEC_STATE",
    show_envvar=True,
    type=click.Path(file_okay=False),
    help="Directory for what need not survive a reboot: sockets, pid files. Default: /run/pluginexec for the default "
    "root, else one below /run/pluginexec/by-root.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    envvar="PLUGINEXEC_TIMEOUT",
    show_envvar=True,
    default=30.0,
    show_default=True,
    type=Seconds(),
    help="Time for one thing that containerd is asked to do, such as the start of a plugin with its hooks.",
)
@click.option(
    "--debug",
    is_flag=True,
    envvar="PLUGINEXEC_DEBUG",
    show_envvar=True,
    help="Log debug messages to stderr, and the details of errors.",
)
@click.option(
    "--log-format",
    envvar="PLUGINEXEC_LOG_FORMAT",
    show_envvar=True,
    default="text",
    show_default=True,
    type=click.Choice(["text", "json"]),
    help="Format of log messages and errors on stderr; json prints one object per line.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    address: str | None,
    namespace: str,
    root: str,
    state: str | None,
    timeout: float,
    debug: bool,
    log_format: str,
) -> None:
    """Run and supervise plugin containers on containerd, using ctr and runc.

    Data goes to stdout, everything else to stderr. 'run' and 'exec' exit with the code of the process, or 128+n if it
    was killed by signal n. Other codes: 125 for an error of pluginexec, 126 if the command cannot be executed, 127 if
    it is not found.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return
    from pluginexec.cli.globals import Settings
    from pluginexec.cli.log_format import configure
    from pluginexec.root.layout import Layout
    from pluginexec.validation import check_namespace

    if not root:
        raise click.UsageError("the root is empty: pass a directory, or omit --root", ctx)
    if state == "":
        raise click.UsageError("the state directory is empty: pass a directory, or omit --state", ctx)
    layout = Layout.of(root, state)
    ctx.obj = Settings(address, check_namespace(namespace), layout, timeout, debug, log_format)
    configure(debug, log_format)
    layout.check()
    if layout.has_state_of_its_own:
        ctx.call_on_close(lambda: _remove_unused_state(layout))


def _remove_unused_state(layout: Layout) -> None:
    if layout.state.exists():
        from pluginexec.host.unused_state import remove_unused_state

        remove_unused_state(layout)


COMMANDS = cli.helps


def run(arguments: list[str]) -> object:
    """Parse, call the command, and return its exit code."""
    if COMPLETE_VARIABLE in os.environ:
        cli.main(arguments, PROGRAM, COMPLETE_VARIABLE)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the encoding of the terminal lacks
    try:
        with cli.make_context(PROGRAM, list(arguments)) as ctx:
            try:
                return cli.invoke(ctx)
            except click.UsageError as error:
                if error.ctx is None:  # raised by click's parser, which does not know the context
                    error.ctx = click.Context(cli, ctx, ctx.invoked_subcommand)
                raise
    except click.exceptions.Exit as end:
        return end.exit_code
