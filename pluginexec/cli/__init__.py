"""The command line: parse, call, print. What containerd is like is known elsewhere."""

from __future__ import annotations

import importlib
import logging
import sys

import click

from pluginexec.errors import PluginExecError

OWN_ERROR = 125
"""The exit code for errors of ours, usage included: docker's, which leaves 126 and 127 to the plugin's command."""
_COMMANDS = ("run",)


class _LazyGroup(click.Group):
    """A group that imports a command when it is asked for, so that ``--help`` and ``--version`` cost no more."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"pluginexec.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup)
@click.version_option(package_name="pluginexec", message="%(prog)s %(version)s")
def cli() -> None:
    """Run and supervise plugin containers on containerd, by way of ctr and runc."""


def main() -> None:
    """Run the command line and end with its exit code."""
    logging.basicConfig(level=logging.WARNING, format="pluginexec: %(message)s")
    try:
        code = cli.main(prog_name="pluginexec", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = OWN_ERROR
    except PluginExecError as error:
        hint = f" ({error.hint})" if error.hint else ""
        click.echo(f"pluginexec: {error}{hint}", err=True)
        code = OWN_ERROR
    except (click.Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code)
