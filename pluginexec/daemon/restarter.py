"""The private containerd of a root, started again whenever it dies, for as long as ``pluginexec serve`` lives."""

from __future__ import annotations

import logging
import threading

from pluginexec.containerd.remote import DEFAULT_TIMEOUT
from pluginexec.daemon.lost_shims import sweep_lost_shims
from pluginexec.daemon.private import private_containerd
from pluginexec.errors import PluginExecError
from pluginexec.restart_policy import pause_before
from pluginexec.root.layout import Layout

log = logging.getLogger(__name__)

_LOOK_EVERY = 5.0
"""Seconds after which we see that the supervisor of containerd has given up; then we begin anew."""


class ContainerdRestarter:
    """Watches the private containerd; in the end it is left running, for the next command.

    Its thread starts it, or adopts one that runs, and tries again after a growing pause where that fails: another
    process may have it in its hands, or its binary may be missing for now.
    """

    def __init__(self, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._layout = layout
        self._containerd = private_containerd(layout, timeout=timeout)
        self._over = threading.Event()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pluginexec-restarter", daemon=True)

    def start(self) -> None:
        """Begin, and return when it runs, or the first try has failed."""
        self._thread.start()
        self._tried.wait()

    def close(self) -> None:
        """Leave it to the next."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        failures, said = 0, ""
        while not self._over.is_set():
            try:
                self._containerd.start()
                sweep_lost_shims(self._containerd.remote, self._layout, is_private=True)
                failures, said = 0, ""
                self._watch()
            except PluginExecError as error:
                if str(error) != said:
                    log.warning("the private containerd: %s; trying again", error)
                said = str(error)
                self._containerd.stop()  # what has given up would say so for ever
            self._tried.set()
            self._over.wait(pause_before(failures))
            failures += 1

    def _watch(self) -> None:
        """Return in the end; ``FailedPrecondition`` once its supervisor has given up."""
        log.info("the private containerd at %s is watched", self._containerd.address)
        self._tried.set()
        while not self._over.wait(_LOOK_EVERY):
            _ = self._containerd.remote
        self._containerd.leave()
