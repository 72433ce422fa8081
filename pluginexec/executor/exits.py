"""What is done when a plugin has exited: find the exit code, record it, delete, drain, free the id, call the handler.

Each exit has a worker thread of its own: nothing blocks the thread that reads the events, and a handler may take its
time, or start the plugin again and wait for it.

What blocks delays an exit by 27 s in all: the 12 s that a shim waits for a logger (where a process outside holds the
plugin's pipe open, or a writer blocks and the buffers are full), ``DRAIN_IDLE``, and ``STOP_TIMEOUT`` where a writer
does not return; ``DELETE_SLOT_TIMEOUT`` more where many plugins exit at once, and ``CODE_TIMEOUT`` where only a
containerd that is down knows the exit code. Other exits are not delayed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Protocol

from pluginexec.cleanup.loggers import LOGGER_TIMEOUT, end_loggers
from pluginexec.containerd.client import Client
from pluginexec.errors import DeadlineExceeded, PluginExecError, Unavailable
from pluginexec.executor.deferred_cleanup import DeferredCleanup
from pluginexec.executor.lifecycle import Lifecycle
from pluginexec.executor.plugins import SupervisedPlugin
from pluginexec.linux.cgroups import oom_killed, remove_cgroups
from pluginexec.types import EventInfo, ExitStatus, Task, TaskState

log = logging.getLogger(__name__)

DELETIONS_AT_ONCE = 8
"""How many ``ctr`` processes may delete at the same time, when many plugins end at once."""
DELETE_SLOT_TIMEOUT = 2.0
"""Seconds after which one more may delete all the same."""
CODE_TIMEOUT = 5.0
"""Seconds in which a containerd that stops while it is asked for an exit code may come back."""
_PAUSE = 0.1


class ExitHandler(Protocol):
    """The caller's handler of exits."""

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Handle the exit of a plugin, once, after its last byte; the id is free again, so it may be created anew.

        Called on a thread of its own; what it raises is logged.
        """


class ExitProcessor:
    """Processes the exits of one executor's plugins; ``remove`` takes a plugin out of the table."""

    def __init__(
        self,
        client: Client,
        lifecycle: Lifecycle,
        deferred: DeferredCleanup,
        remove: Callable[[SupervisedPlugin], None],
        handler: ExitHandler | None,
    ) -> None:
        self._client = client
        self._lifecycle = lifecycle
        self._deferred = deferred
        self._remove = remove
        self._handler = handler
        self._delete_slots = threading.BoundedSemaphore(DELETIONS_AT_ONCE)
        self._lock = threading.Lock()
        self._workers: set[threading.Thread] = set()

    def start(self, plugin: SupervisedPlugin, event: EventInfo | None, task: Task | None = None) -> None:
        """Start the worker for a plugin that has exited; ``task`` is what containerd reports where no event came.

        Raises ``RuntimeError`` if no thread can be started.
        """
        worker = threading.Thread(
            target=self._work, args=(plugin, event, task), name=f"pluginexec-{plugin.id}-exit", daemon=True
        )
        with self._lock:
            self._workers.add(worker)
        try:
            worker.start()
        except BaseException:
            with self._lock:
                self._workers.discard(worker)
            raise

    def join(self, timeout: float) -> None:
        """Wait ``timeout`` seconds at most for the exits that are being processed, handlers included."""
        deadline = time.monotonic() + timeout
        with self._lock:
            # A handler may close the executor: it cannot wait for itself.
            workers = self._workers - {threading.current_thread()}
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                log.warning("gave up waiting for thread %s after %g s", worker.name, timeout)

    def _work(self, plugin: SupervisedPlugin, event: EventInfo | None, task: Task | None) -> None:
        status = _reported(plugin, event) if event else _observed(plugin)
        try:
            if not event:
                status = self._find_out(plugin, task)
            self._clean_up(plugin, status)
        except Exception:
            log.exception("%s: it has exited but could not be cleaned up", plugin.id)
        plugin.status = status
        self._remove(plugin)
        self._call_handler(plugin.id, status)
        with self._lock:
            self._workers.discard(threading.current_thread())

    def _call_handler(self, id: str, status: ExitStatus) -> None:
        if self._handler is None:
            log.debug("%s: no exit handler to call", id)
            return
        begun = time.monotonic()
        try:
            self._handler.handle_exit_event(id, status)
        except Exception:
            log.exception("%s: the exit handler failed", id)
        log.debug("%s: exit handler called (%.0f ms)", id, _milliseconds(begun))

    def _find_out(
        self, plugin: SupervisedPlugin, task: Task | None, known: ExitStatus | None = None, *, later: bool = False
    ) -> ExitStatus:
        """Return how a plugin ended where no event reported it; ``known`` is what an earlier executor recorded of that.

        ``later``: raise ``Unavailable`` or ``DeadlineExceeded``, because containerd can be asked again.
        """
        logged = _logged(plugin, later=later)
        status = _observed(plugin, logged, known)
        code = plugin.init.exit_code() if plugin.init else None
        log.debug("%s: exit code %s from the kernel", plugin.id, "not available" if code is None else code)
        if code is None and logged:
            code = logged.exit_code
        if code is None and task and task.state is TaskState.STOPPED and task.pid == plugin.pid:
            # Recorded before the task is deleted for its code: its cgroup, which counts OOM kills, goes with it.
            _record(plugin, status, logging.DEBUG)
            code = self._code_of_task(plugin.id, later=later)
            if logged is None:  # a logger has written by the time the task is deleted
                status = _observed(plugin, _logged(plugin, later=False), status)
        return replace(status, exit_code=code)

    def _code_of_task(self, id: str, *, later: bool) -> int | None:
        """Delete a stopped task for its exit code; ``None`` where that fails."""
        try:
            return self._client.delete_task(id) if later else self._delete_task_for_code(id)
        except PluginExecError as error:
            if later and isinstance(error, (Unavailable, DeadlineExceeded)):
                raise
            log.warning("%s: its exit code is unknown: %s", id, error)
        return None

    def _delete_task_for_code(self, id: str) -> int | None:
        """Delete a task for its exit code; if no pidfd of it could be opened, only containerd knows the code."""
        deadline = time.monotonic() + CODE_TIMEOUT
        while True:
            try:
                return self._client.delete_task(id)
            except Unavailable:  # containerd is being restarted, and then asked again
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def _clean_up(self, plugin: SupervisedPlugin, status: ExitStatus, level: int = logging.WARNING) -> None:
        """Record, delete, drain; what the disk does not allow now is done later, and logged once."""
        recorded = _record(plugin, status, level)
        self._delete(plugin)
        if not recorded or plugin.files.exist():
            self._deferred.keep(plugin.id, lambda id: self._clean_up(plugin, status, logging.DEBUG))

    def _delete(self, plugin: SupervisedPlugin) -> None:
        begun = time.monotonic()
        with self._delete_slot():
            deleting = time.monotonic()
            deleted = self._lifecycle.delete_ended(plugin.id)
        log.debug("%s: container %s (%.0f ms)", plugin.id, "deleted" if deleted else "kept", _milliseconds(deleting))
        # End of file reaches the relays only now: the shim holds the pipes until the task is deleted.
        draining = time.monotonic()
        ended = plugin.streams is None or plugin.streams.drain()
        log.debug(
            "%s: output drained%s, %d bytes (%.0f ms)",
            plugin.id,
            "" if ended else " in part",
            plugin.streams.bytes_read if plugin.streams else 0,
            _milliseconds(draining),
        )
        # The root was deleted, with the FIFOs, which cannot be opened again, and the runtime's state.
        lost = not plugin.files.exist()
        if deleted and (lost or not ended or time.monotonic() - begun > LOGGER_TIMEOUT):
            end_loggers(plugin.files)
        if lost:
            remove_cgroups(plugin.cgroups_path)
        plugin.files.remove(keep_exit=True)

    @contextlib.contextmanager
    def _delete_slot(self) -> Iterator[None]:
        """Wait for a slot to delete in, but not long: a plugin whose logger is waited for must not delay the others."""
        has_slot = self._delete_slots.acquire(timeout=DELETE_SLOT_TIMEOUT)
        try:
            yield
        finally:
            if has_slot:
                self._delete_slots.release()

    def process_unsupervised(self, plugin: SupervisedPlugin, task: Task | None) -> None:
        """Process a plugin that exited, or never started, while no executor supervised it; the handler is not called.

        Raises ``Unavailable`` or ``DeadlineExceeded`` where containerd cannot report its exit code now.
        """
        assert plugin.streams
        if _never_started(plugin, task):
            plugin.streams.abandon()
            self._lifecycle.remove_half_made(plugin.id)
        else:
            plugin.streams.start()
            if task or plugin.files.exist():
                plugin.pid = task.pid if task else plugin.files.read_pid() or 0
                plugin.cgroups_path = self._lifecycle.cgroup_of_ended(plugin.id) or plugin.cgroups_path
                known = plugin.files.read_exit()
                if known and known.pid != plugin.pid:
                    known = None
                # The last executor may have been killed after it wrote the record, which has the event's code and time.
                if known is None or known.exit_code is None:
                    _record(plugin, self._find_out(plugin, task, known, later=True))
        self._delete(plugin)


def _never_started(plugin: SupervisedPlugin, task: Task | None) -> bool:
    if task is None:
        # ctr writes the pid before it starts the task.
        return plugin.files.exist() and plugin.files.read_pid() is None and plugin.files.read_exit() is None
    return task.state is TaskState.CREATED


def _logged(plugin: SupervisedPlugin, *, later: bool) -> ExitStatus | None:
    """Return what its logger wrote of its end, if that can be read now; ``later``: raise what prevents that."""
    try:
        return plugin.files.read_logged_exit(plugin.pid)
    except PluginExecError as error:
        if later:
            raise
        log.debug("%s: %s", plugin.id, error)
        return None


def _reported(plugin: SupervisedPlugin, event: EventInfo) -> ExitStatus:
    """Return how a plugin ended, by its exit event."""
    status = replace(_observed(plugin), exit_code=event.exit_code)
    return replace(status, exited_at=event.exited_at, exited_at_is_upper_bound=False) if event.exited_at else status


def _observed(plugin: SupervisedPlugin, *records: ExitStatus | None) -> ExitStatus:
    """Return what was seen of how a plugin ended, here and by others who recorded it; the exit code is not."""
    seen = [record for record in records if record]
    counted = oom_killed(plugin.cgroups_path)
    if plugin.end:
        seen.append(ExitStatus(None, plugin.end.at, plugin.pid, bool(plugin.end.oom_killed), plugin.end.late))
    if not seen:
        seen.append(ExitStatus(None, datetime.now(timezone.utc), plugin.pid, exited_at_is_upper_bound=True))
    # One time that is exact before one that is not.
    is_upper_bound, exited_at = min((each.exited_at_is_upper_bound, each.exited_at) for each in seen)
    return ExitStatus(
        exit_code=None,
        exited_at=exited_at,
        pid=plugin.pid,
        oom_killed=(plugin.oom_event or any(each.oom_killed for each in seen)) if counted is None else counted,
        exited_at_is_upper_bound=is_upper_bound,
    )


def _record(plugin: SupervisedPlugin, status: ExitStatus, level: int = logging.WARNING) -> bool:
    """Write the exit record before anything is deleted, so that a crash loses no exit; return whether it is written."""
    try:
        plugin.files.write_exit(status)
    except (OSError, PluginExecError) as error:
        log.log(level, "%s: its exit could not be recorded: %s", plugin.id, error)
        return False
    log.debug("%s: exit recorded (code %s)", plugin.id, status.exit_code)
    return True


def _milliseconds(since: float) -> float:
    return (time.monotonic() - since) * 1000
