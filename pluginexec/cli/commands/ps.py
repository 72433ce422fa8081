"""``pluginexec ps``: list plugins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pluginexec.cli.errors import show_error
from pluginexec.cli.globals import Settings
from pluginexec.cli.humanize import human_duration, human_status, now
from pluginexec.cli.output import format_option, print_rows, put
from pluginexec.errors import InvalidArgument, NotFound, Unknown
from pluginexec.host.host import Host
from pluginexec.host.views import STATES, view

Row = dict[str, Any]
COLUMNS = [
    ("CONTAINER ID", "id"),
    ("IMAGE", "image"),
    ("COMMAND", "command"),
    ("CREATED", "created"),
    ("STATUS", "status"),
]
FIELDS = (
    *("id", "image", "command", "created", "status", "created_at", "state", "pid"),
    *("started_at", "finished_at", "finished_at_is_upper_bound", "exit_code", "oom_killed", "error", "restart"),
    *("restart_count", "labels", "log_driver", "address", "namespace"),
)
_LONGEST_COMMAND = 20


@click.command(name="ps")
@click.option("--all", "-a", "everything", is_flag=True, help="Show all plugins. Default: only running ones.")
@click.option("--quiet", "-q", is_flag=True, help="Only show IDs.")
@click.option("--no-trunc", is_flag=True, help="Do not truncate commands.")
@click.option(
    "--filter", "-f", "filters", multiple=True, metavar="KEY=VALUE",
    help="Filter by id=PART, name=PART, ancestor=IMAGE, label=KEY[=VALUE], exited=CODE or"
    " status=created|running|paused|restarting|exited. Filters of the same key are alternatives; those of different"
    " keys must all match.",
)  # fmt: skip
@format_option(FIELDS)
@click.pass_obj
def command(
    settings: Settings, everything: bool, quiet: bool, no_trunc: bool, filters: tuple[str, ...], format: str
) -> int:
    """List plugins: running ones, with -a all; the most recently created first."""
    tests = parse_filters(filters)
    # As in docker, a filter by state implies --all.
    everything = everything or any(text.startswith(("status=", "exited=")) for text in filters)
    host = Host(settings.layout, settings.timeout)
    rows = []
    code = 0
    for id in host.records.all_ids():
        try:
            row = view(host, id)
        except NotFound:  # removed meanwhile
            continue
        except Unknown as error:  # a broken record must not hide the others
            code = show_error(error)
            continue
        if (everything or row["state"] in ("running", "paused", "restarting")) and all(test(row) for test in tests):
            rows.append(row)
    if quiet:
        for row in rows:
            put(row["id"])
        return code
    for row in rows:
        row["created"] = f"{human_duration((now() - row['created_at']).total_seconds())} ago"
        times = {key: row[key] for key in ("started_at", "finished_at", "exit_code")}
        row["status"] = human_status(row["state"], **times)
        if format == "table" and not no_trunc and len(row["command"]) > _LONGEST_COMMAND:
            row["command"] = row["command"][: _LONGEST_COMMAND - 1] + "…"
    print_rows(rows, format, COLUMNS)
    return code


def parse_filters(filters: tuple[str, ...]) -> list[Callable[[Row], bool]]:
    """Return a predicate for each key; several values of one key are alternatives."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or key not in _TESTS:
            raise InvalidArgument(
                f"unknown filter {text!r}: use KEY=VALUE with one of {', '.join(_TESTS)}, as in id=abc"
            )
        _check_value(key, value)
        wanted.setdefault(key, []).append(value)

    def test_of(key: str, values: list[str]) -> Callable[[Row], bool]:
        return lambda row: any(_TESTS[key](row, value) for value in values)

    return [test_of(key, values) for key, values in wanted.items()]


def _check_value(key: str, value: str) -> None:
    if key == "status" and value not in STATES:
        raise InvalidArgument(f"invalid filter status={value!r}: use one of {', '.join(STATES)}")
    if key == "exited" and not (value.isascii() and value.isdigit()):
        raise InvalidArgument(f"invalid filter exited={value!r}: use a number")


def _is_of(image: str, ancestor: str) -> bool:
    """Return whether a plugin was made from an image, whichever way its name is written."""
    return bool(image) and ancestor in (image, image.partition("@")[0], image.rpartition(":")[0])


def _has_label(row: Row, text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in row["labels"] and (not equals or row["labels"][key] == value)


_TESTS: dict[str, Callable[[Row, str], bool]] = {
    "id": lambda row, value: value in row["id"],
    "name": lambda row, value: value in row["id"],
    "ancestor": lambda row, value: _is_of(row["image"], value),
    "label": _has_label,
    "status": lambda row, value: row["state"] == value,
    "exited": lambda row, value: row["state"] == "exited" and row["exit_code"] == int(value),
}
