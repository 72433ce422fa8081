"""The plugins of one root: start, find out how they ended, stop, remove; each step under the plugin's lock."""

from __future__ import annotations

import contextlib
import logging
import signal as _signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from pluginexec.containerd.error_messages import invocation_code
from pluginexec.containerd.remote import DEFAULT_TIMEOUT, Remote
from pluginexec.daemon.private import ensure_running, is_private
from pluginexec.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PluginExecError,
    Unavailable,
)
from pluginexec.executor.executor import EXIT_TIMEOUT, Executor
from pluginexec.executor.exits import ExitHandler
from pluginexec.executor.signals import kill_notice
from pluginexec.host.logs.drivers import attached_sinks, detached_sinks
from pluginexec.host.managed.files import managed_files
from pluginexec.host.notify import notify_serve
from pluginexec.host.patience import patiently
from pluginexec.host.programs import AllRecords
from pluginexec.host.records import (
    SHORT_LOCK_TIMEOUT,
    Record,
    State,
    hold_process,
    is_alive,
    is_of_another_boot,
)
from pluginexec.host.signals import resume, send
from pluginexec.host.states import exit_fields, process_fields, recorded_exit, unknown_exit
from pluginexec.linux.pidfd import InitProcess
from pluginexec.root.layout import Layout
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.streams.sinks import Sink
from pluginexec.types import ExitStatus
from pluginexec.validation import parse_signal

log = logging.getLogger(__name__)

LOOK_TIMEOUT = 2.0
"""Seconds that a command which only reads waits for one that works on a plugin."""
WORK_TIMEOUT = EXIT_TIMEOUT
"""Seconds that a command which changes a plugin waits for that."""
WORK_AT_ONCE = 8
"""How many plugins one process signals, deletes or drains at the same time: each takes some processes of ``ctr``."""
_POLL = 0.1
_LOCK_POLL = 0.01


class Host:
    """The plugins of a root directory, as the commands work on them; it keeps nothing open."""

    def __init__(self, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.layout = layout
        self.timeout = timeout
        """Seconds that one command to containerd may take."""
        self.records = AllRecords(layout)
        # What only waits for a plugin to end takes no turn.
        self._turns = threading.BoundedSemaphore(WORK_AT_ONCE)

    def remote(self, record: Record) -> Remote:
        """Return the containerd of a plugin: the one that it was created on, the private one started if need be."""
        address = record.address
        if is_private(address, self.layout):
            address = ensure_running(address, self.layout, self.timeout).address
        return Remote(address, runtime=record.runtime, timeout=self.timeout)

    def executor(self, record: Record, handler: ExitHandler | None = None) -> Executor:
        """Return an executor for a plugin, which shares the root with those of other processes."""
        remote = self.remote(record)
        self.layout.make()
        return Executor(self.layout.state, remote, handler, namespace=record.namespace, shared=True)

    def files(self, id: str) -> PluginFiles:
        """Return the executor's files of a plugin."""
        return PluginFiles(self.layout.containers / id)

    def start(self, id: str) -> None:
        """Start a plugin in the background; nothing happens if it runs."""
        record = self.records.record(id)
        with self._work(id, WORK_TIMEOUT, is_alive) as is_free:
            if not is_free or is_alive(self._reconcile_locked(record)):
                return
            self.records.clear_stopped(id)
            sinks = detached_sinks(record, self.records.directory(id))
            with self.executor(record) as executor:
                self.launch(executor, record, *sinks, restart_count=0)
        if not notify_serve(self.layout) and record.restart != "no":
            log.warning("%s is started again (%s) only while 'pluginexec serve' runs for this root", id, record.restart)

    def launch(self, executor: Executor, record: Record, stdout: Sink, stderr: Sink, **changes: Any) -> None:
        """Start a plugin, whose lock is held, and write that down; its end is for others."""
        begun = _now()  # before, so that no life ends before it began
        managed = managed_files(self.layout, record)
        try:
            if managed:
                managed.make_ready()
            executor.create(record.id, self.records.spec(record.id), stdout, stderr)
        except PluginExecError as error:
            self.records.change_state(
                record.id, status="created", exit_code=invocation_code(error), error=str(error), **changes
            )
            raise
        # Even if it has exited meanwhile: the next command reconciles.
        pid = self.files(record.id).read_pid() or 0
        self.records.change_state(
            record.id,
            status="running",
            **process_fields(pid),
            started_at=begun,
            finished_at=None,
            finished_at_is_upper_bound=False,
            exit_code=None,
            oom_killed=False,
            error="",
            **changes,
        )

    def reconcile(self, id: str, timeout: float = WORK_TIMEOUT) -> State:
        """Return the state of a plugin, after finding out how it exited, if unknown; ``--rm`` removes it then.

        Raises ``DeadlineExceeded`` where another process is at work on it for longer than ``timeout`` seconds.
        """

        def is_settled(state: State) -> bool:
            return is_alive(state) or (state.status != "running" and not self.files(id).exist())

        with self._work(id, timeout, is_settled) as is_free:
            return self._reconcile_locked(self.records.record(id)) if is_free else self.records.state(id)

    def has_ended(self, id: str) -> bool:
        """Return whether a plugin has ended, and all that it printed is in its log.

        Raises ``Unavailable`` where that cannot be found out now.
        """
        try:
            if is_alive(self.records.state(id)):
                return False
            return self.reconcile(id, LOOK_TIMEOUT).status not in ("running", "restarting")
        except NotFound:  # --rm
            return True
        except DeadlineExceeded:  # the holder of the lock records its exit, or starts it again
            return False

    def current_state(self, id: str) -> State:
        """Return the state of a plugin as far as it is known now, without waiting or starting a containerd."""
        if self.records.is_recorded(id) and Remote(self.records.record(id).address).listens():
            with contextlib.suppress(DeadlineExceeded, Unavailable, FailedPrecondition):
                return self.reconcile(id, LOOK_TIMEOUT)
        state = self.records.state(id)
        if state.status == "running" and not is_alive(state):
            status = self.files(id).find_exit(state.pid) or recorded_exit(self.records.directory(id), state)
            if status is None and is_of_another_boot(state):
                status = unknown_exit(state)
            return replace(state, **exit_fields(status)) if status else replace(state, status="exited")
        return state

    def record_exit(self, record: Record, status: ExitStatus | None) -> State:
        """Write down how a plugin, whose lock is held, ended; with ``--rm``, remove it."""
        if status is None:
            state = self.records.state(record.id)
            status = recorded_exit(self.records.directory(record.id), state) or unknown_exit(state)
        state = self.records.change_state(record.id, **exit_fields(status))
        if record.auto_remove:
            self._forget(record.id)
        return state

    def restore(self, executor: Executor, record: Record) -> State:
        """Take a plugin, whose lock is held, over into an executor, or write down how it ended."""
        try:
            runs = executor.restore(record.id, *self._last_sinks(record))
        except AlreadyExists:  # it has it already, but that could not be written down
            runs = True
        if runs:
            with contextlib.suppress(NotFound):  # ended meanwhile
                pid = executor.pid(record.id)
                return self.records.change_state(record.id, status="running", **process_fields(pid))
        return self.record_exit(record, exit_status(executor, record.id))

    def give_up(self, id: str) -> State:
        """Record of a plugin, whose lock is held, that it is not started again."""
        state = self.records.state(id)
        return self.records.change_state(id, status="exited") if state.status == "restarting" else state

    def stop(self, id: str, timeout: float = 10.0, signal: int | str | None = None) -> None:
        """Stop a plugin: its stop signal, ``timeout`` seconds, SIGKILL; nothing happens if it does not run."""
        record = self.records.record(id)
        number = parse_signal(record.stop_signal if signal is None else signal)
        self.records.mark_stopped(id)
        notify_serve(self.layout)
        with self.held(id) as init:
            if init and not self._end(record, init, number, timeout):
                if timeout:
                    log.warning("%s: %s", id, kill_notice(number, timeout))
                if not self._end(record, init, _signal.SIGKILL, WORK_TIMEOUT):
                    raise DeadlineExceeded(
                        f"it has not ended {WORK_TIMEOUT:g} s after SIGKILL", operation="stop", id=id
                    )
        with contextlib.suppress(NotFound):  # --rm
            with self._turns:
                state = self.reconcile(id)
            if state.status == "restarting":
                with self.records.lock(id, WORK_TIMEOUT):
                    self.give_up(id)

    def kill(self, id: str, signal: int | str = _signal.SIGKILL) -> None:
        """Send a signal to a plugin; ``FailedPrecondition`` if it does not run."""
        number = parse_signal(signal)
        record = self.records.record(id)
        with self.held(id) as init:
            if init is None:
                raise FailedPrecondition("it is not running", operation="kill", id=id)
            ends = number in (_signal.SIGKILL, parse_signal(record.stop_signal))
            if ends:
                self.records.mark_stopped(id)
                notify_serve(self.layout)
            self._send(record, init, number)
            if ends:
                resume(self.records, record, init, self.timeout)

    def wait(self, id: str) -> State:
        """Wait until a plugin has ended and all that is done about it; return its state then.

        While that cannot be found out, because its shim hangs or containerd is away, it waits on.
        """
        while True:
            state = patiently(id, lambda: self.reconcile(id))
            if state.status == "exited":
                return state
            with self.held(id) as init:
                if init is None:
                    time.sleep(_POLL)  # it was not started yet, or is being started again
                    continue
                init.ends_within(None)
                with contextlib.suppress(NotFound):  # --rm, and somebody was faster
                    state = patiently(id, lambda: self.reconcile(id))
                    if state.pid == init.pid:
                        return state
                # Or it was started again meanwhile, and the state is that of its next life.
                return State(status="exited", exit_code=init.exit_code(), pid=init.pid)

    def remove(self, id: str, *, force: bool = False) -> None:
        """Remove a plugin with its logs; ``FailedPrecondition`` if it runs, unless ``force`` kills it first."""
        record = self.records.record(id)
        if force:
            self.records.mark_stopped(id)  # also where it would be started again in a moment
            notify_serve(self.layout)
            with self.held(id) as init:
                if init:
                    self._end(record, init, _signal.SIGKILL, WORK_TIMEOUT)
        elif is_alive(self.records.state(id)):
            hint = "stop it first, or use 'rm -f'"
            raise FailedPrecondition("it is running", operation="remove", id=id, hint=hint)
        with contextlib.suppress(NotFound), self._turns, self.records.lock(id, WORK_TIMEOUT):
            try:
                state = self._reconcile_locked(record)
            except Unavailable:
                # A full disk: it has ended and nothing but its record is left, so only to remove that makes room.
                state = self.records.state(id)
                if not force or is_alive(state) or self.files(id).exist():
                    raise
            if is_alive(state):
                raise FailedPrecondition("it is running again", operation="remove", id=id, hint="use 'rm -f'")
            self._forget(id)

    @contextlib.contextmanager
    def held(self, id: str) -> Iterator[InitProcess | None]:
        """Hold the process of a plugin, so that its pid cannot become another's; ``None`` if it does not run."""
        init = hold_process(self.records.state(id))
        try:
            yield init
        finally:
            if init:
                init.close()

    def discard(self, id: str) -> None:
        """Remove a plugin that could not be started; one that runs is left alone."""
        with contextlib.suppress(PluginExecError), self.records.lock(id, SHORT_LOCK_TIMEOUT):
            if not is_alive(self._reconcile_locked(self.records.record(id))):
                self._forget(id)

    def _forget(self, id: str) -> None:
        self.files(id).remove()  # its exit record
        self.records.remove(id)

    def _reconcile_locked(self, record: Record) -> State:
        """Return the state of a plugin, whose lock is held, after finding out what became of it, if unknown."""
        state = self.records.state(record.id)
        if is_alive(state) or (state.status != "running" and not self.files(record.id).exist()):
            return state
        with self.executor(record) as executor:
            return self.restore(executor, record)

    @contextlib.contextmanager
    def _work(self, id: str, timeout: float, is_done: Callable[[State], bool]) -> Iterator[bool]:
        """Hold the lock of a plugin, unless its state is, or becomes, one in which nothing is to be done: ``False``."""
        deadline = time.monotonic() + timeout
        with contextlib.ExitStack() as held:
            # Whoever has the lock may have done what we are here for, and keep it, as `serve` does.
            while not is_done(self.records.state(id)):
                try:
                    held.enter_context(self.records.lock(id))
                except DeadlineExceeded:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_LOCK_POLL)
                else:
                    yield True
                    return
            yield False

    def _last_sinks(self, record: Record) -> tuple[Sink, Sink]:
        """Return where the last output of an unsupervised plugin goes."""
        return (None, None) if record.detached else attached_sinks(record, self.records.directory(record.id))

    def _end(self, record: Record, init: InitProcess, number: int, timeout: float) -> bool:
        """Send a signal and wait; return whether the process has ended."""
        self._send(record, init, number)
        resume(self.records, record, init, self.timeout)
        return init.ends_within(timeout)

    def _send(self, record: Record, init: InitProcess, number: int) -> None:
        """Send a signal through containerd, or to the process where that does not go."""
        # The private containerd is started for it: what ends while it is away, some versions forget.
        with self._turns:
            send(lambda: self.remote(record).new_client(record.namespace), record.id, init, number)


def exit_status(executor: Executor, id: str) -> ExitStatus | None:
    """Return how the last run of a plugin ended; ``None`` if that is unknown."""
    with contextlib.suppress(NotFound):
        return executor.exit_status(id)
    return None


def _now() -> datetime:
    return datetime.now(timezone.utc)
