"""``pluginexec wait``: wait until plugins exit."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.output import put
from pluginexec.cli.progress import progress
from pluginexec.cli.references import resolve
from pluginexec.host.host import Host


@click.command(name="wait")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, ids: tuple[str, ...]) -> int:
    """Wait until plugins exit, then print their exit codes, one per line; '?' for a code that is unknown.

    For a plugin that has already exited, its code is printed at once. This command itself exits with 0.
    """
    host = Host(settings.layout, settings.timeout)

    def wait(reference: str) -> None:
        with progress(f"waiting for {reference}"):
            code = host.wait(resolve(settings, host, reference)).exit_code
        put("?" if code is None else code)

    return for_each(ids, wait, echo=False)
