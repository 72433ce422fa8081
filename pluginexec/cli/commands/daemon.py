"""``pluginexec daemon``: look after the private containerd of the root."""

from __future__ import annotations

from dataclasses import asdict

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.humanize import human_duration, now
from pluginexec.cli.output import format_option, print_rows
from pluginexec.cli.progress import progress
from pluginexec.host import daemon

COLUMNS = [
    ("STATE", "state"), ("PID", "pid"), ("VERSION", "version"), ("UPTIME", "uptime"), ("PLUGINS", "plugins"),
    ("ADDRESS", "address"), ("LOG", "log"),
]  # fmt: skip
FIELDS = (
    *("state", "address", "log", "pid", "version", "started_at", "uptime", "uptime_seconds", "plugins", "watched_by"),
)
# As systemctl and the LSB have it.
_CODES = {daemon.RUNNING: 0, daemon.STOPPED: 3, daemon.SILENT: 4}


@click.group(name="daemon", invoke_without_command=True, subcommand_metavar="COMMAND")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Look after the private containerd of the root.

    Where nothing listens on the chosen address, the first command that needs a containerd starts this one, and leaves
    it to the next. What it prints is in a file, ROOT/containerd/containerd.log.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command(short_help="Tell whether it runs, and where.")
@format_option(FIELDS)
@click.pass_obj
def status(settings: Settings, format: str) -> int:
    """Tell whether it runs, where it listens, and how many plugins run on it.

    The exit code is 0 if it runs, 3 if it does not, and 4 if it runs but does not answer.
    """
    with progress("asking containerd"):
        found = daemon.status(settings.root)
    seconds = (now() - found.started_at).total_seconds() if found.started_at else None
    uptime = "" if seconds is None else human_duration(max(0.0, seconds))
    row = {**asdict(found), "uptime": uptime, "uptime_seconds": seconds and round(seconds, 3)}
    print_rows([row], format, COLUMNS)
    return _CODES[found.state]


@command.command(short_help="Stop it, and with --all its plugins.")
@click.option("--all", "everything", is_flag=True, help="Stop its plugins first: SIGTERM, 10 s, SIGKILL.")
@click.pass_obj
def stop(settings: Settings, everything: bool) -> None:
    """Stop it. The plugins that run on it go on, and the next command that needs a containerd has them again.

    Refused while 'pluginexec serve', or a 'pluginexec run' in the foreground, watches it.
    """
    with progress("stopping containerd" + (" and its plugins" if everything else "")):
        stopped = daemon.stop(settings.root, plugins=everything)
    if stopped:
        rest = ", with all that ran on it" if everything else "; what runs on it goes on"
        message = f"the private containerd under {settings.root} is stopped{rest}"
    else:
        message = f"no private containerd runs under {settings.root}"
    click.echo(f"pluginexec: {message}", err=True)
