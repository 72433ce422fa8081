"""``pluginexec exec``: run a command in a running plugin."""

from __future__ import annotations

import os

import click

from pluginexec.cli.errors import show_error
from pluginexec.cli.foreground import Signals, StandardStream
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.containerd.error_messages import invocation_code
from pluginexec.containerd.runc import Command
from pluginexec.errors import PluginExecError
from pluginexec.host.exec import Exec
from pluginexec.host.records import Records


# What follows the id belongs to the command.
@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@click.option("--detach", "-d", is_flag=True, help="Return when the command runs; it has no stdin and no output.")
@click.option(
    "--env",
    "-e",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Set an environment variable. KEY alone: as it is set here; where it is not, it is removed.",
)
@click.option("--env-file", multiple=True, metavar="FILE", help="Set the variables of a file with KEY=VALUE lines.")
@click.option("--interactive", "-i", is_flag=True, help="Give the command our stdin; else it has /dev/null.")
@click.option("--tty", "-t", is_flag=True, help="Give the command a terminal, connected to ours; includes -i.")
@click.option(
    "--user",
    "-u",
    metavar="NAME|UID[:GROUP|GID]",
    help="Who it runs as; by default as the plugin. Names are looked up in the plugin's /etc/passwd and /etc/group.",
)
@click.option("--workdir", "-w", metavar="DIR", help="Its working directory; by default the plugin's.")
@click.argument("id", metavar="ID", shell_complete=complete_running)
@click.argument("arguments", metavar="CMD [ARG...]", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def command(
    settings: Settings,
    detach: bool,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    interactive: bool,
    tty: bool,
    user: str | None,
    workdir: str | None,
    id: str,
    arguments: tuple[str, ...],
) -> int:
    """Run a command in a running plugin.

    It has the plugin's environment, user, capabilities, limits and namespaces, and ends with the plugin at the latest.
    SIGINT, SIGTERM and SIGHUP go to the command, and the third of them kills it. The exit code is the command's, 128+n
    if signal n ended it, 125 for an error of pluginexec, 126 for a command that cannot be executed, and 127 for one
    that is not there.
    """
    if detach and (interactive or tty):
        raise click.UsageError("--detach gives the command no stdin and no terminal; leave out --interactive and --tty")
    if tty and not os.isatty(0):
        raise click.UsageError("the input device is not a TTY; leave out --tty")
    what = Command(arguments, env, env_file, workdir, user, terminal=tty, interactive=interactive, detach=detach)
    try:
        with (
            Signals() as signals,
            Exec(Records(settings.root), id, what) as running,
            signals.forwarded(running.send) as started,
        ):
            running.start()
            started()
            return running.wait(StandardStream(2))
    except PluginExecError as error:
        own = show_error(error)
        return invocation_code(error.message) or own
