"""What could not be deleted yet: it is kept, by id, and tried again until it is gone or its id is created anew."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Set

from pluginexec.containerd.error_messages import container_missing, container_runs
from pluginexec.errors import FailedPrecondition, NotFound, PluginExecError

log = logging.getLogger(__name__)

SETTLE_TIMEOUT = 5.0
"""Seconds in which a state of containerd that blocks a deletion, or an answer, has to pass."""
SETTLE_PAUSE = 0.05


class DeferredCleanup:
    """Deletes, and keeps for a retry what cannot be deleted now; ``on_kept`` is called for each id that is kept."""

    def __init__(self, on_kept: Callable[[], None]) -> None:
        self._on_kept = on_kept
        self._lock = threading.Lock()
        # Of one id both can be left: a plugin that exited, and what starts that failed after it may have made.
        self._cleanups: dict[str, Callable[[str], None]] = {}
        self._half_made: dict[str, set[str]] = {}
        self._logged: set[str] = set()

    def keep(self, id: str, cleanup: Callable[[str], None]) -> None:
        """Call ``cleanup`` later, when the id is not in use; not if it is created anew."""
        with self._lock:
            self._cleanups[id] = cleanup
        log.debug("%s: cleanup deferred", id)
        self._on_kept()

    def keep_half_made(self, id: str, marks: Set[str]) -> None:
        """Remove later, as ``keep`` does, what the failed starts with these marks may have made."""
        with self._lock:
            self._half_made.setdefault(id, set()).update(marks)
        log.debug("%s: removal of a failed start deferred", id)
        self._on_kept()

    def discard(self, id: str) -> None:
        """Forget an id: it was created anew, and what was left of it was removed for that."""
        with self._lock:
            self._cleanups.pop(id, None)
            self._half_made.pop(id, None)

    def retry(
        self,
        reserve: Callable[[str], contextlib.AbstractContextManager[bool]],
        remove_half_made: Callable[[str, Set[str]], None],
    ) -> None:
        """Try again all that is kept; ``reserve`` reserves an id, if it is free."""
        with self._lock:
            ids = [*self._half_made, *self._cleanups]
        for id in dict.fromkeys(ids):
            with reserve(id) as is_free:
                if is_free:
                    with self._lock:
                        marks, cleanup = self._half_made.pop(id, None), self._cleanups.pop(id, None)
                    log.debug("%s: cleanup is tried again", id)
                    if marks:
                        remove_half_made(id, marks)
                    if cleanup:
                        cleanup(id)
                else:
                    # Its exit is still being processed; or it is being created anew, which removes obstacles itself.
                    self._on_kept()

    def delete(self, id: str, remove: Callable[[str], None], keep: Callable[[], None]) -> bool:
        """Call ``remove`` until containerd is ready for it; log what cannot be removed, and ``keep`` it for a retry.

        Returns whether it is gone.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT
        while True:
            try:
                remove(id)
            except PluginExecError as error:
                if isinstance(error, NotFound) and container_missing(error.message, id):
                    break
                # The kernel can be ahead of the shim, containerd of a ctr that was killed, and another program may
                # delete the task at the same time: only a state passes.
                passing = isinstance(error, (FailedPrecondition, NotFound)) and error.returncode
                if passing and time.monotonic() < deadline:
                    time.sleep(SETTLE_PAUSE)
                    continue
                self._log_once(id, error)
                # Any fault of containerd or ctr may pass; a container that runs belongs to another program by now.
                if not container_runs(error.message):
                    keep()
                return False
            break
        self._logged.discard(id)
        return True

    def _log_once(self, id: str, error: PluginExecError) -> None:
        """Log the first failure of each id; one that is tried for an hour is one line, not hundreds."""
        level = logging.DEBUG if id in self._logged else logging.WARNING
        log.log(level, "a container may be left behind: %s", error)
        self._logged.add(id)
