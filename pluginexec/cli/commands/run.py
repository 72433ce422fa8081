"""``pluginexec run``: create and run a plugin, in the foreground or in the background."""

from __future__ import annotations

from typing import Any

import click

from pluginexec.cli.container_options import ContainerFlags
from pluginexec.cli.create_options import creating_options, planned
from pluginexec.cli.errors import CLOSED_PIPE
from pluginexec.cli.foreground import Signals, StandardStream, code_after
from pluginexec.cli.globals import Settings
from pluginexec.cli.output import put
from pluginexec.daemon.private import supervised
from pluginexec.errors import Unknown
from pluginexec.host.host import Host
from pluginexec.host.logs.drivers import attached_sinks
from pluginexec.host.records import SHORT_LOCK_TIMEOUT, Record
from pluginexec.types import ExitStatus


# Everything after the command of the plugin belongs to it.
@click.command(name="run", context_settings={"allow_interspersed_args": False})
@click.option("--detach", "-d", is_flag=True, help="Run the plugin in the background and print its ID.")
@creating_options
@click.pass_obj
def command(settings: Settings, /, detach: bool, flags: ContainerFlags, **options: Any) -> int:
    """Create and run a plugin.

    In the foreground, its stdout and stderr are passed through unchanged, and signals are forwarded to it. The third of
    SIGINT, SIGTERM and SIGHUP kills it, and so does a reader that closes the pipe, as in 'run ... | head'.

    The exit code is that of the plugin, or 128+n if it was killed by signal n; 125 for an error of pluginexec, 126 if
    the command cannot be executed, and 127 if it is not found.

    With -d, it runs without any process of pluginexec; 'pluginexec logs' shows its output.

    If no containerd is running, a private one is started under the root.
    """
    if not detach and options["restart"] != "no":
        raise click.UsageError("--restart needs --detach: a plugin in the foreground is not restarted")
    with Signals() as signals:
        record, spec = planned(settings, flags, detached=detach, **options)
        host = Host(settings.layout, settings.timeout)
        host.records.create(record, spec)
        try:
            if detach:
                host.start(record.id)
                put(record.id)
                return 0
            stdout, stderr = (StandardStream(descriptor, signals.reader_is_gone) for descriptor in (1, 2))
            status = _in_foreground(host, record, signals, stdout, stderr)
        except BaseException:
            host.discard(record.id)
            raise
    if stdout.is_broken or stderr.is_broken:
        return CLOSED_PIPE
    if status.exit_code is None:
        raise Unknown("it has exited, but its exit code is unknown", operation="run", id=record.id)
    return code_after(status.exit_code, stdout, stderr)


def _in_foreground(
    host: Host, record: Record, signals: Signals, stdout: StandardStream, stderr: StandardStream
) -> ExitStatus:
    id = record.id
    sinks = attached_sinks(record, host.records.directory(id), stdout, stderr)
    with (
        host.records.lock(id, SHORT_LOCK_TIMEOUT),
        supervised(record.address, host.layout, timeout=host.timeout),
        host.executor(record) as executor,
        signals.forwarded(lambda number: executor.signal(id, number)) as started,
    ):
        host.launch(executor, record, *sinks)
        started()
        try:
            status = executor.wait(id)
        except BaseException:
            executor.stop(id, timeout=0)
            raise
        host.record_exit(record, status)
    return status
