"""``pluginexec serve``: supervise the plugins of the root until stopped."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.seconds import Seconds
from pluginexec.host.serve.sd_notify import Notifier
from pluginexec.host.serve.service import Options, Serve

_TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@click.command(name="serve")
@click.option(
    "--live-restore", is_flag=True, envvar="PLUGINEXEC_LIVE_RESTORE", show_envvar=True,
    help="Leave the plugins running on exit, for the next serve.",
)  # fmt: skip
@click.option(
    "--stop-timeout", type=Seconds(zero=True), default=10.0, show_default=True, metavar="SECONDS",
    help="Without --live-restore: seconds to wait for a plugin to stop on exit before killing it.",
)  # fmt: skip
@click.pass_obj
def command(settings: Settings, live_restore: bool, stop_timeout: float) -> None:
    """Supervise the plugins of the root until stopped.

    Takes over running plugins, and restarts those that exit according to their --restart policy: after 0.1 s, doubling
    each time up to one minute. The delay resets after 10 s of uptime. When serve starts, plugins with the policy
    'always' are started even if they were stopped manually. The other commands work alongside it, and 'run -d' hands
    its plugins over to it. Only one serve can run per root. It restarts the private containerd of the root when that
    exits.

    SIGTERM and SIGINT stop the plugins, each with its stop signal, and the next serve starts them again; a second
    signal kills them at once. With --live-restore they are left running. SIGHUP rescans the root.

    With systemd, use KillMode=process and Type=notify-reload, or Type=notify before version 253. Logs to stderr, one
    line per event.
    """
    for package in ("pluginexec.host", "pluginexec.daemon"):
        logging.getLogger(package).setLevel(logging.DEBUG if settings.debug else logging.INFO)
    options = Options(settings.address, settings.namespace, live_restore, stop_timeout, settings.timeout)
    with _signals() as pending:
        Serve(settings.layout, options, Notifier.from_environment()).run(pending)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Handle the signals: yield a pipe from which each is read as its number; nothing is interrupted."""
    # Python runs handlers in the main thread, and one for a signal that arrives just before a blocking call only after
    # it. So Python's C-level handler writes each number to the pipe at once.
    pending, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    before = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _TAKEN}
    try:
        yield pending
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(wakeup)
        os.close(pending)
