"""``pluginexec attach``: stay with a plugin that runs."""

from __future__ import annotations

from contextlib import suppress

import click

from pluginexec.cli.errors import CLOSED_PIPE
from pluginexec.cli.foreground import Signals, StandardStream, write_all
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unknown
from pluginexec.executor.executor import Executor
from pluginexec.host.host import Host
from pluginexec.host.logs.drivers import NONE, attached_sinks
from pluginexec.host.logs.reader import follow
from pluginexec.host.records import SHORT_LOCK_TIMEOUT, Record
from pluginexec.types import ExitStatus

_LOOK_EVERY = 0.2
"""Seconds after which we see that nobody reads any more what we relay."""


@click.command(name="attach")
@click.option(
    "--sig-proxy/--no-sig-proxy",
    default=True,
    show_default=True,
    help="Send SIGINT, SIGTERM and SIGHUP on to the plugin, the third as SIGKILL; if not, they end this command alone.",
)
@click.argument("id", metavar="ID", shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, sig_proxy: bool, id: str) -> int:
    """Show what a running plugin prints from now on, until it ends; the exit code is the plugin's.

    Of a plugin whose 'pluginexec run' was killed, or whose program left it behind, the output has waited: all of it
    comes, and is kept in its log as well.

    A reader that goes away, as of 'attach ID | head', ends this command alone.
    """
    host = Host(settings.root)
    id = host.records.resolve(id)
    if host.reconcile(id).status != "running":
        hint = "'pluginexec start' starts it, 'pluginexec logs' shows what it printed"
        raise FailedPrecondition("it is not running", operation="attach", id=id, hint=hint)
    record = host.records.record(id)
    work = _watch if record.detached else _take_over
    with Signals() as signals:
        if sig_proxy:
            with signals.forwarded(lambda number: host.kill(id, number)) as started:
                started()  # it runs already
                code = work(host, record)
        else:
            code = work(host, record)
    if code is None:
        raise Unknown("it has ended, and nobody knows its exit code any more", operation="attach", id=id)
    return code


def _watch(host: Host, record: Record) -> int | None:
    """Follow the log of a plugin that has a logger of its own."""
    id = record.id
    streams = {"stdout": StandardStream(1), "stderr": StandardStream(2)}
    with host.held(id) as init:
        if record.log_driver == NONE:
            return host.wait(id).exit_code
        directory = host.records.directory(id)
        for entry in follow(directory, id, record.log_driver, lambda: host.has_ended(id), tail=0):
            write_all(streams[entry.stream], entry.data)
            if streams[entry.stream].is_broken:
                return CLOSED_PIPE
        try:
            return host.records.state(id).exit_code
        except NotFound:  # --rm
            return init.exit_code() if init else None


def _take_over(host: Host, record: Record) -> int | None:
    """Relay the output of a plugin that nobody reads any more."""
    id = record.id
    streams = StandardStream(1), StandardStream(2)
    sinks = attached_sinks(record, host.records.directory(id), *streams)
    try:
        with host.records.lock(id, SHORT_LOCK_TIMEOUT), host.executor(record) as executor:
            executor.restore(id, *sinks)
            status = _end_of(executor, id, streams)
            if status is None:
                return CLOSED_PIPE
            host.record_exit(record, status)
    except DeadlineExceeded as error:
        hint = "it shows there; 'pluginexec logs -f' follows its log"
        raise FailedPrecondition(
            "its output goes to the process that runs it", operation="attach", id=id, hint=hint
        ) from error
    return status.exit_code


def _end_of(executor: Executor, id: str, streams: tuple[StandardStream, StandardStream]) -> ExitStatus | None:
    """Wait for the end of a plugin; ``None`` once nobody reads its output."""
    while not any(stream.is_broken for stream in streams):
        with suppress(DeadlineExceeded):
            return executor.wait(id, _LOOK_EVERY)
    return None
