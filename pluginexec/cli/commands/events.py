"""``pluginexec events``: print plugin events in real time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.humanize import rfc3339
from pluginexec.cli.output import format_option, print_document, put
from pluginexec.cli.templates import escaped
from pluginexec.containerd.events import ALL_TOPICS, EventStream
from pluginexec.daemon.private import ensure_running
from pluginexec.errors import InvalidArgument
from pluginexec.host.events import Feed
from pluginexec.host.history import ACTIONS, Event
from pluginexec.host.records import Records
from pluginexec.host.timestamps import SECOND, nanoseconds, parse_when

FIELDS = ("time", "type", "action", "id", "attributes", "labels")
_TYPE = "container"
# docker's names, for the text format; JSON has the names on the left.
_NAMES = {"exit_code": "exitCode", "exec_id": "execID"}
_INTERVAL = 0.5
"""Seconds between two checks of the records while containerd sends no event."""


@click.command(name="events")
@click.option("--since", metavar="TIME", help="Print known events since this time first.")
@click.option("--until", metavar="TIME", help="Stop at this time.")
@click.option(
    "--filter", "-f", "filters", multiple=True, metavar="KEY=VALUE",
    help="Filter by id=ID, container=ID, event=ACTION, label=KEY[=VALUE] or type=container. Filters of the same"
    " key are alternatives; those of different keys must all match.",
)  # fmt: skip
@format_option(FIELDS)
@click.pass_obj
def command(settings: Settings, since: str | None, until: str | None, filters: tuple[str, ...], format: str) -> None:
    """Print plugin events in real time, until Ctrl-C.

    Actions: create, start, die, oom, pause, unpause, exec_create, exec_start, exec_die and destroy. Starts and exits of
    other containers in containerd's namespace are printed too.

    TIME is RFC 3339 (2026-11-24T01:02:03Z), Unix seconds, or relative (10m). containerd keeps no history: for the past,
    --since prints only what the root has on record for each existing plugin, which is its creation, its last start and
    its last exit.
    """
    started = time.time_ns()
    start = parse_when(since, started) if since else started
    end = parse_when(until, started) if until else None
    if start > started:
        raise InvalidArgument(f"--since {since} is in the future", hint="omit it to print events from now on")
    is_wanted = parse_filters(filters)
    for event in _events(settings, start, end):
        if is_wanted(event):
            _print(event, format)


def _events(settings: Settings, since: int, until: int | None) -> Iterator[Event]:
    """Yield the events from ``since`` until ``until``; containerd is needed only for future ones."""
    feed = Feed(Records(settings.layout), since)
    with contextlib.ExitStack() as stack:
        if until is None or until > time.time_ns():
            client = ensure_running(settings.address, settings.layout, settings.timeout).new_client(settings.namespace)
            stack.callback(EventStream(client.ctr, feed, ALL_TOPICS).close)
        timeout = 0.0
        while True:
            for event in feed.take(timeout):
                if until is None or nanoseconds(event.time) <= until:
                    yield event
            timeout = _INTERVAL if until is None else min(_INTERVAL, (until - time.time_ns()) / SECOND)
            if timeout <= 0:
                return


def _print(event: Event, format: str) -> None:
    if format == "table":
        details = {_NAMES.get(key, key): value for key, value in event.attributes.items()} | event.labels
        shown = ", ".join(f"{key}={value}" for key, value in details.items())
        line = f"{rfc3339(event.time)} {_TYPE} {event.action} {event.id}"
        put(escaped(f"{line} ({shown})" if shown else line))
        return
    row = {"time": event.time, "type": _TYPE, "action": event.action, "id": event.id}
    print_document({**row, "attributes": event.attributes, "labels": event.labels}, format)


def parse_filters(filters: Iterable[str]) -> Callable[[Event], bool]:
    """Return a predicate for all filters; several values of one key are alternatives."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or key not in _TESTS:
            raise InvalidArgument(
                f"unknown filter {text!r}: use KEY=VALUE with one of {', '.join(_TESTS)}, as in event=die"
            )
        _check_value(key, value)
        wanted.setdefault("id" if key == "container" else key, []).append(value)
    return lambda event: all(any(_TESTS[key](event, value) for value in values) for key, values in wanted.items())


def _check_value(key: str, value: str) -> None:
    possible = {"event": ACTIONS, "type": (_TYPE,)}.get(key)
    if possible and value not in possible:
        raise InvalidArgument(f"invalid filter {key}={value!r}: use one of {', '.join(possible)}")


def _has_label(event: Event, text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in event.labels and (not equals or event.labels[key] == value)


_TESTS: dict[str, Callable[[Event, str], Any]] = {
    "id": lambda event, value: event.id == value,
    "container": lambda event, value: event.id == value,
    "event": lambda event, value: event.action == value,
    "label": _has_label,
    "type": lambda event, value: True,
}
