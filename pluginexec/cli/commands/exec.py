"""``pluginexec exec``: execute a command in a running plugin."""

from __future__ import annotations

import os

import click

from pluginexec.cli.errors import show_error
from pluginexec.cli.foreground import Signals, StandardStream
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.references import resolve
from pluginexec.containerd.error_messages import invocation_code
from pluginexec.containerd.runc import Command
from pluginexec.errors import PluginExecError
from pluginexec.host.exec import Exec
from pluginexec.host.host import Host


# Everything after the ID belongs to the command.
@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@click.option("--detach", "-d", is_flag=True, help="Run the command in the background, without stdin and output.")
@click.option(
    "--env",
    "-e",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Set an environment variable. KEY alone takes its value from the current environment, and unsets it if"
    " there is none.",
)
@click.option(
    "--env-file", multiple=True, metavar="FILE", help="Read environment variables from a file of KEY=VALUE lines."
)
@click.option(
    "--interactive", "-i", is_flag=True, help="Connect stdin to the command, which otherwise reads /dev/null."
)
@click.option("--tty", "-t", is_flag=True, help="Allocate a pseudo-terminal; implies -i.")
@click.option(
    "--user",
    "-u",
    metavar="NAME|UID[:GROUP|GID]",
    help="User to run as. Names are looked up in the plugin's /etc/passwd and /etc/group. Default: the plugin's user.",
)
@click.option("--workdir", "-w", metavar="DIR", help="Working directory of the command. Default: the plugin's.")
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
    """Execute a command in a running plugin.

    It runs with the plugin's environment, user, capabilities, limits and namespaces, and is killed when the plugin
    exits. Signals are forwarded to the command; the third of SIGINT, SIGTERM and SIGHUP kills it.

    The exit code is that of the command, or 128+n if it was killed by signal n; 125 for an error of pluginexec, 126 if
    the command cannot be executed, and 127 if it is not found.
    """
    if detach and (interactive or tty):
        raise click.UsageError(
            "--detach conflicts with --interactive and --tty: a detached command has neither stdin nor terminal"
        )
    if tty and not os.isatty(0):
        raise click.UsageError("the input device is not a TTY; omit --tty")
    spec = Command(arguments, env, env_file, workdir, user, terminal=tty, interactive=interactive, detach=detach)
    host = Host(settings.layout, settings.timeout)
    try:
        with (
            Signals() as signals,
            Exec(host.records, resolve(settings, host, id), spec) as running,
            signals.forwarded(running.send) as started,
        ):
            running.start()
            started()
            return running.wait(StandardStream(2))
    except PluginExecError as error:
        own = show_error(error)
        return invocation_code(error) or own
