"""``pluginexec daemon``: manage the private containerd of the root."""

from __future__ import annotations

from dataclasses import asdict

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.group import Group
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
# The exit codes of systemctl status and the LSB.
_CODES = {daemon.RUNNING: 0, daemon.STOPPED: 3, daemon.SILENT: 4}


@click.group(name="daemon", cls=Group, invoke_without_command=True, subcommand_metavar="COMMAND")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Manage the private containerd of the root.

    If no address is given and the host's containerd is not running, the first command that needs containerd starts a
    private one and leaves it running. It logs to ROOT/containerd/containerd.log; its socket is in STATE/containerd.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command(short_help="Show whether it is running, and where.")
@format_option(FIELDS)
@click.pass_obj
def status(settings: Settings, format: str) -> int:
    """Show whether it is running, its address, and the number of its running plugins.

    The exit code is 0 if it is running, 3 if it is not, and 4 if it is running but does not answer.
    """
    with progress("asking containerd"):
        result = daemon.status(settings.layout, settings.timeout)
    seconds = (now() - result.started_at).total_seconds() if result.started_at else None
    uptime = "" if seconds is None else human_duration(max(0.0, seconds))
    row = {**asdict(result), "uptime": uptime, "uptime_seconds": seconds and round(seconds, 3)}
    print_rows([row], format, COLUMNS)
    return _CODES[result.state]


@command.command(short_help="Stop it, with --all its plugins too.")
@click.option("--all", "everything", is_flag=True, help="Stop its plugins first: SIGTERM, and after 10 s SIGKILL.")
@click.pass_obj
def stop(settings: Settings, everything: bool) -> None:
    """Stop it. Its plugins keep running; the next command that needs containerd starts it again and finds them.

    Fails while 'pluginexec serve' or a 'pluginexec run' in the foreground supervises it.
    """
    with progress("stopping containerd" + (" and its plugins" if everything else "")):
        stopped = daemon.stop(settings.layout, plugins=everything, timeout=settings.timeout)
    if stopped:
        rest = " and its plugins" if everything else "; its plugins keep running"
        message = f"stopped the private containerd under {settings.layout.root}{rest}"
    else:
        message = f"no private containerd is running under {settings.layout.root}"
    click.echo(f"pluginexec: {message}", err=True)
