"""What could not be deleted yet: it is kept, by id, and tried again until it is gone or its id is created anew.

It is kept on disk too, for the next executor on the root, whichever ids that is for.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Set

from pluginexec.cleanup.inflight import IN_FLIGHT_TIMEOUT
from pluginexec.cleanup.unfinished import Hold, Leftover, Unfinished
from pluginexec.containerd.error_messages import container_missing, container_runs
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, NotFound, PluginExecError

log = logging.getLogger(__name__)

SETTLE_TIMEOUT = 5.0
"""Seconds in which a state of containerd that blocks a deletion, or an answer, has to pass."""
SETTLE_PAUSE = 0.05


class DeferredCleanup:
    """Deletes, and keeps for a retry what cannot be deleted now; ``on_kept`` is called for each id that is kept."""

    def __init__(self, on_kept: Callable[[], None], unfinished: Unfinished) -> None:
        self._on_kept = on_kept
        self._unfinished = unfinished
        self._lock = threading.Lock()
        # Of one id both can be left: a plugin that exited, and what starts that failed after it may have made.
        self._cleanups: dict[str, Callable[[str], object]] = {}
        self._half_made: dict[str, set[str]] = {}
        self._cgroups: dict[str, str] = {}
        self._logged: set[str] = set()

    def load(self, delete_exited: Callable[[str], object]) -> bool:
        """Keep what executors before this one left behind; return whether there is any.

        ``delete_exited``: deletes what is left of a plugin that exited.
        """
        leftovers = self._unfinished.load()
        for each in leftovers:
            log.debug("%s: what an earlier executor could not delete is kept", each.id)
            self._logged.add(each.id)  # by that one
            if each.marks:
                self._half_made[each.id] = set(each.marks)
                self._cgroups[each.id] = each.cgroup
            if each.has_exited:
                self._cleanups[each.id] = delete_exited
        return bool(leftovers)

    def keep(self, id: str, cleanup: Callable[[str], None]) -> None:
        """Call ``cleanup`` later, when the id is not in use; not if it is created anew."""
        with self._lock:
            self._cleanups[id] = cleanup
        self._write_down(id)
        log.debug("%s: cleanup deferred", id)
        self._on_kept()

    def keep_half_made(self, id: str, marks: Set[str], cgroup: str = "") -> None:
        """Remove later, as ``keep`` does, what the failed starts with these marks may have made.

        ``cgroup``: the spec's ``linux.cgroupsPath``.
        """
        with self._lock:
            self._cgroups[id] = cgroup or self._cgroups.get(id, "")
            self._half_made.setdefault(id, set()).update(marks)
        self._write_down(id)
        log.debug("%s: removal of a failed start deferred", id)
        self._on_kept()

    def discard(self, id: str) -> None:
        """Forget an id: it was created anew, and what was left of it was removed for that."""
        with self._lock:
            self._cleanups.pop(id, None)
            self._half_made.pop(id, None)
            self._cgroups.pop(id, None)
        self._unfinished.remove(id)

    @contextlib.contextmanager
    def creating(self, id: str) -> Iterator[None]:
        """Keep other processes from deleting what is left of an id, because it is created anew here.

        Raises ``DeadlineExceeded`` where one that does so takes too long.
        """
        with self._unfinished.held(id, IN_FLIGHT_TIMEOUT) as hold:
            if hold is Hold.OTHERS:
                raise DeadlineExceeded(
                    f"another process still deletes what is left of it, after {IN_FLIGHT_TIMEOUT:g} s",
                    hint="containerd or a shim may hang; see containerd's log",
                )
            yield

    def _write_down(self, id: str) -> None:
        with self._lock:
            marks = frozenset(self._half_made.get(id, ()))
            leftover = Leftover(id, marks, id in self._cleanups, self._cgroups.get(id, ""))
        if leftover.marks or leftover.has_exited:
            self._unfinished.store(leftover)
        else:
            self._unfinished.remove(id)

    def retry(
        self,
        reserve: Callable[[str], contextlib.AbstractContextManager[bool]],
        remove_half_made: Callable[[str, Set[str], str], None],
    ) -> None:
        """Try again all that is kept; ``reserve`` reserves an id, if it is free."""
        with self._lock:
            ids = [*self._half_made, *self._cleanups]
        for id in dict.fromkeys(ids):
            with reserve(id) as is_free, self._unfinished.held(id) as hold:
                if is_free and hold is Hold.OURS:
                    self._retry(id, remove_half_made)
                elif is_free and hold is Hold.DONE:
                    self.discard(id)
                else:
                    # Its exit is still being processed; or it is being created anew, which removes obstacles itself.
                    self._on_kept()

    def _retry(self, id: str, remove_half_made: Callable[[str, Set[str], str], None]) -> None:
        with self._lock:
            marks, cleanup = self._half_made.pop(id, None), self._cleanups.pop(id, None)
            cgroup = self._cgroups.pop(id, "")
        log.debug("%s: cleanup is tried again", id)
        if marks:
            remove_half_made(id, marks, cgroup)
        if cleanup:
            cleanup(id)
        self._write_down(id)

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
