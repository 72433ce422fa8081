"""What is done when a plugin has ended: find out how, write it down, delete, drain, forget, tell the handler.

Each end has a worker thread of its own: nothing blocks the thread that reads the events, and a handler may take its
time, or start the plugin again and wait for it.

What blocks holds an end up for 27 s in all: the 12 s that a shim waits for a logger (where a process outside holds the
plugin's pipe open, or a writer blocks and the buffers are full), ``DRAIN_IDLE``, and ``STOP_TIMEOUT`` where a writer
does not return; and for ``DELETE_SLOT_TIMEOUT`` more where many plugins end at once, for ``CODE_TIMEOUT`` where the
containerd dies that alone knows the exit code. Others it does not hold up.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Protocol

from pluginexec.cleanup.loggers import LOGGER_TIMEOUT, end_loggers
from pluginexec.containerd.client import Client
from pluginexec.errors import DeadlineExceeded, PluginExecError, Unavailable
from pluginexec.executor.lifecycle import Lifecycle
from pluginexec.linux.cgroups import oom_killed, remove_cgroups
from pluginexec.plugin import SupervisedPlugin
from pluginexec.types import EventInfo, ExitStatus, Task, TaskState

log = logging.getLogger(__name__)

DELETIONS_AT_ONCE = 8
"""How many ``ctr`` processes may delete at the same time, when many plugins end at once."""
DELETE_SLOT_TIMEOUT = 2.0
"""Seconds after which one more may none the less."""
CODE_TIMEOUT = 5.0
"""Seconds that a containerd which goes away while it is asked for an exit code may take to come back."""
_PAUSE = 0.1


class ExitHandler(Protocol):
    """Who is told of exits."""

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Take the exit of a plugin, once, after its last byte; the id is free again, so it may be created anew.

        Called on a thread of its own; what it raises is logged.
        """


class ExitProcessor:
    """The ends of one executor's plugins."""

    def __init__(
        self,
        client: Client,
        lifecycle: Lifecycle,
        forget: Callable[[SupervisedPlugin], None],
        handler: ExitHandler | None,
    ) -> None:
        self._client = client
        self._lifecycle = lifecycle
        self._forget = forget
        self._handler = handler
        self._deleting = threading.BoundedSemaphore(DELETIONS_AT_ONCE)
        self._lock = threading.Lock()
        self._workers: set[threading.Thread] = set()

    def start(self, plugin: SupervisedPlugin, event: EventInfo | None, task: Task | None = None) -> None:
        """Start the worker for a plugin that has ended; ``task`` is what containerd says where no event came.

        Raises ``RuntimeError`` where no thread can be had.
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
        """Wait ``timeout`` seconds at most for the ends that are being dealt with, handlers included."""
        deadline = time.monotonic() + timeout
        with self._lock:
            # A handler may close the executor: it cannot wait for itself.
            workers = self._workers - {threading.current_thread()}
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                log.warning("%s is not done after %g s and is left behind", worker.name, timeout)

    def _work(self, plugin: SupervisedPlugin, event: EventInfo | None, task: Task | None) -> None:
        status = _status(plugin, event.exit_code if event else None, event)
        try:
            if not event:
                status = _status(plugin, self._exit_code(plugin, task), None)
            self._clean_up(plugin, status)
        except Exception:
            log.exception("%s has ended but could not be cleaned up", plugin.id)
        plugin.status = status
        self._forget(plugin)
        self._tell(plugin.id, status)
        with self._lock:
            self._workers.discard(threading.current_thread())

    def _tell(self, id: str, status: ExitStatus) -> None:
        if self._handler is None:
            return
        try:
            self._handler.handle_exit_event(id, status)
        except Exception:
            log.exception("the exit handler failed for %s", id)

    def _exit_code(self, plugin: SupervisedPlugin, task: Task | None, *, later: bool = False) -> int | None:
        """Find out the exit code where no event told it: the kernel first, then containerd.

        ``later``: raise ``Unavailable`` or ``DeadlineExceeded``, because it can be asked again.
        """
        code = plugin.init.exit_code() if plugin.init else None
        if code is None and task and task.state is TaskState.STOPPED and task.pid == plugin.pid:
            try:
                return self._client.delete_task(plugin.id) if later else self._patiently_deleted(plugin.id)
            except PluginExecError as error:
                if later and isinstance(error, (Unavailable, DeadlineExceeded)):
                    raise
                log.warning("the exit code of %s is not known: %s", plugin.id, error)
        return code

    def _patiently_deleted(self, id: str) -> int | None:
        """Delete a task for its exit code; of one that ended before it could be held nobody but containerd knows it."""
        deadline = time.monotonic() + CODE_TIMEOUT
        while True:
            try:
                return self._client.delete_task(id)
            except Unavailable:  # containerd is being restarted, and then asked again
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)

    def _clean_up(self, plugin: SupervisedPlugin, status: ExitStatus, level: int = logging.WARNING) -> None:
        """Record, delete, drain; what the disk does not allow now is done later, and complained of once."""
        recorded = _record(plugin, status, level)
        self._delete(plugin)
        if not recorded or plugin.files.exist():
            self._lifecycle.finish_later(plugin.id, lambda id: self._clean_up(plugin, status, logging.DEBUG))

    def _delete(self, plugin: SupervisedPlugin) -> None:
        begun = time.monotonic()
        with self._turn():
            deleted = self._lifecycle.delete_ended(plugin.id)
        # End of file reaches the relays only now: the shim holds the pipes until the task is deleted.
        ended = plugin.streams is None or plugin.streams.drain()
        # The root was deleted, with the FIFOs, which nobody can open any more, and the runtime's state.
        lost = not plugin.files.exist()
        if deleted and (lost or not ended or time.monotonic() - begun > LOGGER_TIMEOUT):
            end_loggers(plugin.files)
        if lost:
            remove_cgroups(plugin.cgroups_path)
        plugin.files.remove(keep_exit=True)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for a turn to delete, but not long: a plugin whose logger is waited for must not hold up the others."""
        has_turn = self._deleting.acquire(timeout=DELETE_SLOT_TIMEOUT)
        try:
            yield
        finally:
            if has_turn:
                self._deleting.release()

    def process_unsupervised(self, plugin: SupervisedPlugin, task: Task | None) -> None:
        """Deal with a plugin that ended, or never started, while nobody supervised it: all but the handler.

        Raises ``Unavailable`` or ``DeadlineExceeded`` where containerd cannot tell now how it ended.
        """
        assert plugin.streams
        if _never_started(plugin, task):
            plugin.streams.abandon()
            self._lifecycle.remove_half_made(plugin.id)
        else:
            plugin.streams.start()
            if task or plugin.files.exist():
                plugin.pid = task.pid if task else plugin.files.read_pid() or 0
                known = plugin.files.read_exit()
                # Its record may have been written before our predecessor died: it has the event's code and time.
                if known is None or known.pid != plugin.pid:
                    _record(plugin, _status(plugin, self._exit_code(plugin, task, later=True), None))
        self._delete(plugin)


def _never_started(plugin: SupervisedPlugin, task: Task | None) -> bool:
    if task is None:
        # ctr writes the pid before it starts the task.
        return plugin.files.exist() and plugin.files.read_pid() is None and plugin.files.read_exit() is None
    return task.state is TaskState.CREATED


def _status(plugin: SupervisedPlugin, exit_code: int | None, event: EventInfo | None) -> ExitStatus:
    counted = oom_killed(plugin.cgroups_path)
    return ExitStatus(
        exit_code=exit_code,
        exited_at=event.exited_at if event and event.exited_at else datetime.now(timezone.utc),
        pid=plugin.pid,
        oom_killed=plugin.oom_event if counted is None else counted,
    )


def _record(plugin: SupervisedPlugin, status: ExitStatus, level: int = logging.WARNING) -> bool:
    """Write the exit record before anything is deleted: a crash between the two loses no exit; tell if it is there."""
    try:
        plugin.files.write_exit(status)
    except OSError as error:
        log.log(level, "the exit of %s could not be recorded: %s", plugin.id, error)
        return False
    return True
