"""``pluginexec attach``: attach to the output of a running plugin."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import click

from pluginexec.cli.errors import CLOSED_PIPE
from pluginexec.cli.foreground import Signals, StandardStream, code_after, write_all
from pluginexec.cli.globals import Settings
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.references import resolve
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unknown
from pluginexec.executor.executor import Executor
from pluginexec.host.host import Host
from pluginexec.host.logs.drivers import NONE, attached_sinks
from pluginexec.host.logs.reader import follow
from pluginexec.host.patience import patient, patiently
from pluginexec.host.programs import check_output
from pluginexec.host.records import SHORT_LOCK_TIMEOUT, Record
from pluginexec.types import ExitStatus

_CHECK_INTERVAL = 0.2
"""Seconds between two checks whether the reader of our output has closed the pipe."""


@click.command(name="attach")
@click.option(
    "--sig-proxy/--no-sig-proxy",
    default=True,
    show_default=True,
    help="Forward signals to the plugin, the third of SIGINT, SIGTERM and SIGHUP as SIGKILL; otherwise they only"
    " detach.",
)
@click.argument("id", metavar="ID", shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, sig_proxy: bool, id: str) -> int:
    """Attach to the output of a running plugin until it exits, and exit with its code.

    If the 'pluginexec run' or the program that started the plugin is gone, its output since then was buffered: all of
    it is printed, and written to the log.

    If the reader closes the pipe, as in 'attach ID | head', this command ends and the plugin keeps running.
    """
    host = Host(settings.layout, settings.timeout)
    id = resolve(settings, host, id)
    check_output(host.records, id, "attach")
    if patiently(id, lambda: host.reconcile(id)).status != "running":
        hint = "'pluginexec start' starts it, 'pluginexec logs' shows its output"
        raise FailedPrecondition("it is not running", operation="attach", id=id, hint=hint)
    record = host.records.record(id)
    work = _watch if record.detached else _take_over
    with Signals() as signals:
        if sig_proxy:
            with signals.forwarded(lambda number: host.kill(id, number)) as started:
                started()  # it is running already
                code = work(host, record)
        else:
            code = work(host, record)
    if code is None:
        raise Unknown("it has exited, but its exit code is unknown", operation="attach", id=id)
    return code


def _watch(host: Host, record: Record) -> int | None:
    """Follow the log of a detached plugin, which has its own logger."""
    id = record.id
    streams = {"stdout": StandardStream(1), "stderr": StandardStream(2)}
    with host.held(id) as init:
        if record.log_driver == NONE:
            return host.wait(id).exit_code
        directory = host.records.directory(id)
        has_ended = patient(id, lambda: host.has_ended(id))
        for entry in follow(directory, id, record.log_driver, has_ended, tail=0):
            write_all(streams[entry.stream], entry.data)
            if streams[entry.stream].is_broken:
                return CLOSED_PIPE
        try:
            code = host.records.state(id).exit_code
        except NotFound:  # --rm
            code = init.exit_code() if init else None
        return None if code is None else code_after(code, *streams.values())


def _take_over(host: Host, record: Record) -> int | None:
    """Relay the output of a plugin that has lost its reader."""
    id = record.id
    streams = StandardStream(1), StandardStream(2)
    with ExitStack() as held:
        try:
            held.enter_context(host.records.lock(id, SHORT_LOCK_TIMEOUT))
        except DeadlineExceeded as error:
            hint = "'pluginexec logs -f' follows its log"
            raise FailedPrecondition(
                "another process is attached to its output", operation="attach", id=id, hint=hint
            ) from error
        executor = held.enter_context(patiently(id, lambda: host.executor(record)))
        # With new sinks each time: a restore that fails has closed them.
        patiently(id, lambda: executor.restore(id, *attached_sinks(record, host.records.directory(id), *streams)))
        status = _wait(executor, id, streams)
        if status is None:
            return CLOSED_PIPE
        host.record_exit(record, status)
    return None if status.exit_code is None else code_after(status.exit_code, *streams)


def _wait(executor: Executor, id: str, streams: tuple[StandardStream, StandardStream]) -> ExitStatus | None:
    """Wait until a plugin exits; return ``None`` if the reader of its output closes the pipe."""
    while not any(stream.is_broken for stream in streams):
        with suppress(DeadlineExceeded):
            return executor.wait(id, _CHECK_INTERVAL)
    return None
