"""``pluginexec serve``: supervise the plugins of the root until told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator

import click

from pluginexec.cli.globals import Settings
from pluginexec.host.serve.sd_notify import Notifier
from pluginexec.host.serve.service import Options, Serve

_TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@click.command(name="serve")
@click.option(
    "--live-restore", is_flag=True, envvar="PLUGINEXEC_LIVE_RESTORE", show_envvar=True,
    help="In the end, leave the plugins running, for the next serve.",
)  # fmt: skip
@click.option(
    "--stop-timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
    help="Without --live-restore: how long a plugin may take in the end before it is killed.",
)  # fmt: skip
@click.pass_obj
def command(settings: Settings, live_restore: bool, stop_timeout: float) -> None:
    """Supervise the plugins of the root until told to stop.

    Takes over those that run, and starts again those that end, as their --restart policy says: after 0.1 s, and each
    time after twice as long, up to a minute; 10 s of running begin that anew. At its start, plugins with the policy
    always are started even if a person has stopped them. The other commands work beside it, and 'run -d' hands its
    plugins to it. One serve can keep a root. A private containerd of the root is started again when it dies.

    SIGTERM and SIGINT stop the plugins, each with its stop signal, and the next serve starts them again; a second one
    kills them at once. With --live-restore they are left running. SIGHUP has the root looked at again.

    Under systemd, use Type=notify-reload, or Type=notify before version 253, and KillMode=process. What happens is told
    on stderr, one line for each event.
    """
    for package in ("pluginexec.host", "pluginexec.daemon"):
        logging.getLogger(package).setLevel(logging.DEBUG if settings.debug else logging.INFO)
    options = Options(settings.address, settings.namespace, live_restore, stop_timeout)
    with _signals() as pending:
        Serve(settings.root, options, Notifier.from_environment()).run(pending)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Take the signals: each comes out of a pipe as its number, and nothing is interrupted."""
    # A Python handler would run only when the main thread wakes: a signal that comes just before it waits would be
    # seen too late. So the kernel's own handler writes each to the pipe.
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
