"""The thread that restarts a plugin after it has ended, as its restart policy says."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from pluginexec.errors import PluginExecError, Unavailable
from pluginexec.executor.executor import EXIT_TIMEOUT
from pluginexec.linux.poll import wait_readable
from pluginexec.managed.activation import how_it_ended
from pluginexec.managed.container import AttachedContainer
from pluginexec.restart_policy import STEADY_AFTER, RestartPolicy, pause_before

log = logging.getLogger(__name__)


class PluginRestarter:
    """Waits for the exit of an enabled plugin, and restarts it; never ends one that runs.

    ``restart`` starts the plugin again; its argument is a descriptor that becomes readable when it is to give up.
    """

    def __init__(
        self, container: AttachedContainer, id: str, policy: RestartPolicy, restart: Callable[[int], object]
    ) -> None:
        self._container = container
        self._id = id
        self._policy = policy
        self._restart = restart
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"pluginexec-{id}-restart", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            os.close(self._stop)
            raise Unavailable(f"cannot start the thread that restarts it: {error}") from error

    @property
    def is_active(self) -> bool:
        """Whether the plugin runs, or will be restarted."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread; a plugin that runs is left running."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)

    def _run(self) -> None:
        try:
            self._supervise()
        except PluginExecError as error:  # the executor was closed
            log.warning("%s will not be restarted: %s", self._id, error)
        except Exception:
            log.exception("%s will not be restarted", self._id)

    def _supervise(self) -> None:
        restarts, in_a_row = 0, 0
        while True:
            began = time.monotonic()
            with self._container.hold() as init:
                if init and self._is_stopped(init.pidfd):
                    return
            status = self._container.wait(EXIT_TIMEOUT)
            problem, code = how_it_ended(status), status.exit_code
            if time.monotonic() - began >= STEADY_AFTER:
                in_a_row = 0
            while True:
                if not self._policy.wants_restart(code, restarts):
                    log.warning("%s %s; not restarting it after %d restarts", self._id, problem, restarts)
                    return
                pause = pause_before(in_a_row)
                log.warning("%s %s; restarting it in %g s", self._id, problem, pause)
                if self._is_stopped(timeout=pause):
                    return
                restarts, in_a_row = restarts + 1, in_a_row + 1
                try:
                    self._restart(self._stop)
                    break
                except PluginExecError as error:
                    problem, code = f"could not be restarted: {error.message}", None

    def _is_stopped(self, *others: int, timeout: float | None = None) -> bool:
        """Wait for ``stop``, another descriptor to be readable, or the timeout; return whether it was ``stop``."""
        return self._stop in wait_readable(timeout, self._stop, *others)
