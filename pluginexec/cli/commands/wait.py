"""``pluginexec wait``: wait for plugins to end."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.progress import progress
from pluginexec.host.host import Host


@click.command(name="wait")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Wait until plugins have ended, and print their exit codes, one a line; '?' for one that nobody knows any more.

    One that has ended before is answered for at once. The exit code of this command is 0.
    """
    host = Host(settings.root)

    def wait(reference: str) -> None:
        with progress(f"waiting for {reference}"):
            code = host.wait(host.records.resolve(reference)).exit_code
        click.echo("?" if code is None else code)

    return for_each(ids, wait, echo=False)
