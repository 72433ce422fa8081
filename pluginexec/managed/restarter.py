"""The thread that starts a plugin again when it has ended, as its restart policy says."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable

from pluginexec.errors import PluginExecError, Unavailable
from pluginexec.executor.executor import EXIT_TIMEOUT, Executor
from pluginexec.managed.activation import held, how_it_ended
from pluginexec.restart_policy import STEADY_AFTER, RestartPolicy, pause_before

log = logging.getLogger(__name__)


class PluginRestarter:
    """Watches a plugin that is enabled, and starts it again; it never ends one that runs.

    ``again`` starts the plugin, after what its last life has left was removed; it is given a descriptor that is
    readable once it is to give up.
    """

    def __init__(self, executor: Executor, id: str, policy: RestartPolicy, again: Callable[[int], object]) -> None:
        self._executor = executor
        self._id = id
        self._policy = policy
        self._again = again
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"pluginexec-{id}-restart", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            os.close(self._stop)
            raise Unavailable(f"no thread can be had to start it again: {error}") from error

    @property
    def is_at_work(self) -> bool:
        """Whether the plugin runs, or will run again."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread; a plugin that runs then is left as it is."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)

    def _run(self) -> None:
        try:
            self._keep()
        except PluginExecError as error:  # the executor was closed
            log.warning("%s is not looked after any more: %s", self._id, error)
        except Exception:
            log.exception("%s is not looked after any more", self._id)

    def _keep(self) -> None:
        restarts, in_a_row = 0, 0
        while True:
            began = time.monotonic()
            with held(self._executor, self._id) as init:
                if init and self._is_stopped(init.pidfd):
                    return
            status = self._executor.wait(self._id, EXIT_TIMEOUT)
            said, code = how_it_ended(status), status.exit_code
            if time.monotonic() - began >= STEADY_AFTER:
                in_a_row = 0
            while True:
                if not self._policy.wants_restart(code, restarts):
                    log.warning("%s %s, and is not started again after %d restarts", self._id, said, restarts)
                    return
                pause = pause_before(in_a_row)
                log.warning("%s %s; starting it again in %g s", self._id, said, pause)
                if self._is_stopped(timeout=pause):
                    return
                restarts, in_a_row = restarts + 1, in_a_row + 1
                try:
                    self._again(self._stop)
                    break
                except PluginExecError as error:
                    said, code = f"could not be started: {error.message}", None

    def _is_stopped(self, *others: int, timeout: float | None = None) -> bool:
        """Wait until it is to stop, one of the other descriptors is readable, or the time is over."""
        poll = select.poll()
        for descriptor in (self._stop, *others):
            poll.register(descriptor, select.POLLIN)
        return self._stop in [ready for ready, _ in poll.poll(None if timeout is None else timeout * 1000)]
