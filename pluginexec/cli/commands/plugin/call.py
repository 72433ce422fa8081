"""``pluginexec plugin call``: call a method of a managed plugin."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_enabled
from pluginexec.cli.output import put, writing
from pluginexec.cli.progress import progress
from pluginexec.cli.seconds import Seconds
from pluginexec.cli.templates import to_json
from pluginexec.errors import InvalidArgument
from pluginexec.host.managed.manager import ManagedHost


@click.command(name="call")
@click.option(
    "--timeout", type=Seconds(zero=True), default=30.0, show_default=True, metavar="SECONDS",
    help="Fail unless it answers within this time.",
)  # fmt: skip
@click.argument("name", metavar="NAME", shell_complete=complete_enabled)
@click.argument("method", metavar="METHOD")
@click.argument("body", metavar="[JSON|-]", required=False)
@click.pass_obj
def command(settings: Settings, name: str, method: str, body: str | None, timeout: float) -> None:
    """Call a method of an enabled plugin, and print its answer: one line of JSON.

    METHOD is for example VolumeDriver.Create; JSON is its argument, such as '{"Name": "data"}', or '-' to read it from
    stdin. If the answer has a non-empty Err, the command fails with that text.
    """
    host = ManagedHost(settings.layout, settings.timeout)
    name = host.store.resolve(name)
    parsed = _parse(sys.stdin.read() if body == "-" else body)
    with progress(f"calling {method}"):
        answer = host.call(name, method, parsed, timeout)
    if isinstance(answer, bytes):  # a stream, such as that of LogDriver.ReadLogs
        with writing():
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()
    else:
        put(to_json(answer))


def _parse(body: str | None) -> Any:
    if body is None:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the body is not json: {error}") from error
