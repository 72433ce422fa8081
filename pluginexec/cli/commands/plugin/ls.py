"""``pluginexec plugin ls``: list managed plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from pluginexec.cli.errors import show_error
from pluginexec.cli.globals import Settings
from pluginexec.cli.humanize import human_status
from pluginexec.cli.output import format_option, print_rows, put
from pluginexec.errors import InvalidArgument, NotFound, PluginExecError
from pluginexec.host.managed.manager import ManagedHost
from pluginexec.host.managed.views import managed_view
from pluginexec.managed.config import capability_of

Row = dict[str, Any]
COLUMNS = [("NAME", "name"), ("DESCRIPTION", "description"), ("ENABLED", "enabled"), ("STATUS", "status")]
FIELDS = (
    *("id", "name", "description", "enabled", "status", "created_at", "state", "pid"),
    *("started_at", "finished_at", "finished_at_is_upper_bound", "exit_code", "oom_killed", "error", "restart"),
    *("restart_count", "types", "implements"),
)
_LONGEST_DESCRIPTION = 20


@click.command(name="ls")
@click.option("--quiet", "-q", is_flag=True, help="Print only the names.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten descriptions.")
@click.option(
    "--filter", "-f", "filters", multiple=True, metavar="KEY=VALUE",
    help="enabled=true|false, capability=NAME (volumedriver, logdriver, authz). Values of one key are alternatives;"
    " different keys must all match.",
)  # fmt: skip
@format_option(FIELDS)
@click.pass_obj
def command(settings: Settings, quiet: bool, no_trunc: bool, filters: tuple[str, ...], format: str) -> int:
    """List managed plugins. A plugin is enabled if it runs and has answered to Plugin.Activate."""
    tests = parse_filters(filters)
    host = ManagedHost(settings.layout, settings.timeout)
    rows, code = [], 0
    for name in host.store.names():
        try:
            row = managed_view(host, name)
        except NotFound:  # removed meanwhile
            continue
        except PluginExecError as error:  # its files are broken; list the others
            code = show_error(error)
            continue
        if all(test(row) for test in tests):
            rows.append(row)
    if quiet:
        for row in rows:
            put(row["name"])
        return code
    for row in rows:
        times = {key: row[key] for key in ("started_at", "finished_at", "exit_code")}
        row["status"] = human_status(row["state"], **times)
        if format == "table" and not no_trunc and len(row["description"]) > _LONGEST_DESCRIPTION:
            row["description"] = row["description"][: _LONGEST_DESCRIPTION - 1] + "…"
    print_rows(rows, format, COLUMNS)
    return code


def parse_filters(filters: Iterable[str]) -> list[Callable[[Row], bool]]:
    """Return one test per key; the values of a key are alternatives."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or key not in _TESTS:
            raise InvalidArgument(f"unknown filter {text!r}: use {' or '.join(f'{each}=VALUE' for each in _TESTS)}")
        if key == "enabled" and value.lower() not in ("true", "false"):
            raise InvalidArgument(f"invalid filter enabled={value!r}: use true or false")
        wanted.setdefault(key, []).append(value.lower())
    return [_test_of(key, values) for key, values in wanted.items()]


def _test_of(key: str, values: list[str]) -> Callable[[Row], bool]:
    return lambda row: any(_TESTS[key](row, value) for value in values)


def _has_capability(row: Row, value: str) -> bool:
    """Return whether the plugin has a type, given as ``volumedriver`` or ``docker.volumedriver/1.0``."""
    return any(value in (each.lower(), capability_of(each)) for each in row["types"])


_TESTS: dict[str, Callable[[Row, str], bool]] = {
    "enabled": lambda row, value: row["enabled"] is (value == "true"),
    "capability": _has_capability,
}
