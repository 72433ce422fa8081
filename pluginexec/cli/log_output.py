"""The options of ``logs`` and ``plugin logs``, and printing a log as they ask."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import click

from pluginexec.cli.output import writing
from pluginexec.errors import NotFound
from pluginexec.host.host import Host
from pluginexec.host.logs.drivers import RAW
from pluginexec.host.logs.reader import Entry, follow, no_times, read
from pluginexec.host.patience import patient
from pluginexec.host.timestamps import parse_when
from pluginexec.streams.json_logger import STREAMS

_F = TypeVar("_F", bound=Callable[..., Any])


def _parse_tail(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    if not (value.isascii() and value.isdigit()):
        raise click.BadParameter(f"{value!r} is neither a number of lines nor 'all'", ctx, param)
    return int(value)


_OPTIONS = (
    click.option("-f", "--follow", "following", is_flag=True, help="Follow log output until the plugin exits."),
    click.option(
        "-n",
        "--tail",
        metavar="N|all",
        callback=_parse_tail,
        default="all",
        help="Number of lines to show from the end of the logs. Default: all.",
    ),
    click.option("-t", "--timestamps", is_flag=True, help="Show timestamps."),
    click.option(
        "--since", metavar="WHEN", help="Show logs since a time: RFC 3339, Unix seconds, or relative (10m, 1h30m)."
    ),
    click.option("--until", metavar="WHEN", help="Show logs before a time."),
    click.option("--stdout", is_flag=True, help="Show only stdout. Default: both streams."),
    click.option("--stderr", is_flag=True, help="Show only stderr."),
)


def log_options(command: _F) -> _F:
    """Add the options that ``show_log`` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def show_log(
    host: Host,
    id: str,
    *,
    following: bool,
    tail: int | None,
    timestamps: bool,
    since: str | None,
    until: str | None,
    stdout: bool,
    stderr: bool,
) -> None:
    """Print the log of a plugin as the options ask."""
    driver = host.records.record(id).log_driver
    if timestamps and driver == RAW:
        raise no_times(id)
    now = time.time_ns()
    streams = tuple(name for name, is_chosen in (("stdout", stdout), ("stderr", stderr)) if is_chosen) or STREAMS
    source = (host.records.directory(id), id, driver)
    options: dict[str, Any] = {
        "tail": tail,
        "since": parse_when(since, now) if since else None,
        "until": parse_when(until, now) if until else None,
        "streams": streams,
    }
    if following:
        entries = follow(*source, patient(id, lambda: host.has_ended(id)), **options)
    else:
        entries = read(*source, **options)
        # The last output of an exited plugin is written to the log when its task is deleted, which this call does.
        with suppress(NotFound):
            host.current_state(id)
    _print(entries, timestamps, at_once=following)


def _print(entries: Iterator[Entry], timestamps: bool, at_once: bool) -> None:
    outputs = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    inside: set[str] = set()  # streams whose last line is incomplete
    last = "stdout"
    for entry in entries:
        if entry.stream != last:
            _flush(last)  # keep the order if both go to the same file
            last = entry.stream
        with writing(last):
            if timestamps and entry.stream not in inside:
                outputs[last].write(f"{entry.time} ".encode())
            outputs[last].write(entry.data)
        (inside.discard if entry.data.endswith(b"\n") else inside.add)(entry.stream)
        if at_once:
            _flush(last)
    _flush(last)


def _flush(stream: str) -> None:
    with writing(stream):
        getattr(sys, stream).buffer.flush()
