"""The executor: the operations on plugins, the table of those that live, and each exit delivered exactly once."""

from __future__ import annotations

import logging
import os
import signal as _signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from pluginexec.containerd.client import DELETE_TIMEOUT
from pluginexec.containerd.remote import Remote
from pluginexec.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PluginExecError,
    Unavailable,
    Unknown,
)
from pluginexec.executor.exits import ExitHandler, ExitProcessor
from pluginexec.executor.lifecycle import ALIVE, Lifecycle
from pluginexec.executor.plugins import PluginTable
from pluginexec.linux.cgroups import cgroups_path_of
from pluginexec.linux.pidfd import GRACE, ExitWatcher, InitProcess, boot_seconds
from pluginexec.oci.spec import SpecSource, load_spec
from pluginexec.plugin import SupervisedPlugin
from pluginexec.root import Root
from pluginexec.streams.streams import DRAIN_TOTAL, Streams, check_sink
from pluginexec.types import PLUGIN_NAMESPACE, EventInfo, EventType, ExitStatus, Sink, Task, TaskState
from pluginexec.validation import check_id, parse_signal

log = logging.getLogger(__name__)

DEFAULT_ROOT = "/run/pluginexec"
ENDING_TIMEOUT = DELETE_TIMEOUT + DRAIN_TOTAL
"""Seconds in which a plugin that has ended is deleted and drained, at the very most."""
TRUST_KERNEL_AFTER = 10.0
"""Seconds after which the kernel is believed that a process has ended, where containerd still says that it runs."""
_LEFTOVERS_AGAIN = 5.0


class Executor:
    """Runs and supervises plugin containers of one root directory, in one containerd namespace.

    - ``root_dir``: made if it is not there, mode 0700; one executor at a time may use it;
    - ``remote``: the containerd; by default ``Remote()``;
    - ``exit_handler``: told of every exit, exactly once;
    - ``namespace``: containerd's; moby keeps its plugins in ``plugins.moby``;
    - ``shared``: other executors that say so may use the root as well, and no old exit record is removed. Then it is
      for the callers to see that no two of them touch one id.

    A context manager: leaving it closes the executor, and the plugins go on running. All methods may be called from
    any thread. Raises ``FailedPrecondition`` if another executor uses the root, ``InvalidArgument`` or
    ``PermissionDenied`` if it cannot be used at all, ``Unavailable`` where no thread can be had. A containerd that is
    not there shows at the first operation, as ``Unavailable``; it may come later, and may be restarted at any time.
    """

    def __init__(
        self,
        root_dir: str | os.PathLike[str] = DEFAULT_ROOT,
        remote: Remote | None = None,
        exit_handler: ExitHandler | None = None,
        *,
        namespace: str = PLUGIN_NAMESPACE,
        shared: bool = False,
    ) -> None:
        self._client = (remote or Remote()).new_client(namespace, self)
        self._root = Root(root_dir, shared=shared)
        self._lifecycle = Lifecycle(
            self._client, self._root, on_leftover=lambda: self._watch.schedule(_LEFTOVERS_AGAIN)
        )
        self._table = PluginTable(self._root, ENDING_TIMEOUT)
        self._exits = ExitProcessor(self._client, self._lifecycle, self._table.remove, exit_handler)
        try:
            with ExitStack() as undo:
                undo.callback(self._root.close)
                self._orphans = self._client.find_in_flight(self._root.runtime_root)
                self._watch = ExitWatcher(self._look)
                undo.callback(self._watch.close)
                self._client.listen()
                undo.pop_all()
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"no thread or descriptor can be had for an executor: {error}") from error

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def root_dir(self) -> Path:
        """Its root directory, absolute."""
        return self._root.path

    def create(self, id: str, spec: SpecSource, stdout: Sink = None, stderr: Sink = None) -> None:
        """Create a container and start it; return when the plugin runs.

        ``spec`` is an OCI runtime spec: a dict, the path of a ``config.json``, or a bundle directory. ``stdout`` and
        ``stderr`` are each a writer (``write(bytes)`` and ``close()``, called from another thread, closed exactly once,
        after the last byte), a path (the plugin's logger appends to it, and no byte passes through this process), or
        ``None`` (discarded). Stdin is ``/dev/null``.

        A stale container of the id (without a task, stopped, or never started) is replaced, and so is stale state of
        the runtime. Any failure leaves nothing behind and closes no writer. Raises:

        - ``AlreadyExists``: the id runs; that plugin is left as it is;
        - ``InvalidArgument``: the id, the spec, a sink, or an executable that is not there;
        - ``FailedPrecondition``: ``ctr``, the shim or the runtime is missing, or the executor is closed;
        - ``Unavailable``, ``DeadlineExceeded``, ``PermissionDenied``: of containerd.
        """
        with self._starting("create", id) as plugin:
            checked = load_spec(spec)
            check_sink(stdout)
            check_sink(stderr)
            plugin.cgroups_path = cgroups_path_of(checked)
            begun = boot_seconds()
            streams = self._lifecycle.start(plugin.files, checked, stdout, stderr)
            try:
                pid = plugin.files.read_pid()
                if pid is None:
                    raise Unknown("ctr started it but wrote no pid")
                init = InitProcess.open(pid, started_since=begun)
                if init:
                    streams.widen(pid)
                self._supervise(plugin, streams, pid, init)
            except BaseException:
                streams.stop()
                self._lifecycle.remove_half_made(id)
                plugin.files.remove()
                raise

    def restore(self, id: str, stdout: Sink = None, stderr: Sink = None) -> bool:
        """Take over a plugin that runs already, after a restart of this process; return whether it is alive.

        ``True``: it runs or is paused; its streams are relayed from where the last executor stopped. ``False``: it has
        ended, or was never started, or is not there; what it had still written was delivered, the writers are closed,
        container and files are gone, and ``exit_status`` tells how it ended, if that is known. The exit handler is not
        called for it.

        Sinks are as in ``create``, but a stream that was created with a path or ``None`` goes on as it was. A plugin
        that something else created in this namespace is relayed from the FIFOs at its shim, where it has such. Raises
        ``AlreadyExists`` if this executor supervises it already, else as ``create``.
        """
        with self._starting("restore", id) as plugin:
            check_sink(stdout)
            check_sink(stderr)
            plugin.cgroups_path = cgroups_path_of(plugin.files.read_spec())
            ours = plugin.files.exist()
            # The read ends, then the lock, then anything else: see the logger.
            streams = Streams.open(plugin.files, stdout, stderr)
            try:
                task, init = self._lifecycle.find(plugin.files)
                # One that has ended has nothing more to say: its shim has closed the FIFOs that nobody read.
                if init and not ours:
                    streams.discard()
                    streams = Streams.attach(id, init.pid, stdout, stderr)
                if task and init:
                    self._supervise(plugin, streams, task.pid, init)
                    return True
                plugin.streams = streams
                self._exits.process_unsupervised(plugin, task)
            except BaseException:
                streams.stop()
                raise
            self._table.remove(plugin)
            return False

    def is_running(self, id: str) -> bool:
        """Tell whether a plugin runs, or is paused; starts no process.

        Raises ``NotFound`` for an id that this executor does not supervise, which an ended plugin's is once its exit
        has been dealt with.
        """
        return self._table.is_alive(self._table.get(id))

    def pid(self, id: str) -> int:
        """Return the pid, on the host, of a plugin's init process; ``NotFound`` as ``is_running``."""
        return self._table.get(id).pid

    def signal(self, id: str, signal: int | str) -> None:
        """Send a signal to the init process: a number, a ``signal.Signals``, or a name (``"TERM"``, ``"SIGTERM"``).

        Raises ``InvalidArgument`` for what is no signal, ``NotFound`` if there is no such plugin or it has ended.
        """
        number = parse_signal(signal)
        plugin = self._table.get(id)
        if not self._table.is_alive(plugin):
            raise NotFound("it has ended", operation="signal", id=id)
        self._send(plugin, number)

    def stop(self, id: str, timeout: float = 10.0) -> ExitStatus:
        """Send SIGTERM, wait ``timeout`` seconds, send SIGKILL if it still runs, and wait for the exit.

        Raises ``NotFound`` if there is no such plugin, ``DeadlineExceeded`` if even SIGKILL does not end it.
        """
        plugin = self._table.get(id)
        for number, patience in ((_signal.SIGTERM, timeout), (_signal.SIGKILL, ENDING_TIMEOUT)):
            if self._table.is_alive(plugin):
                with suppress(NotFound):  # ended meanwhile
                    self._send(plugin, number)
            if plugin.done.wait(_bounded(patience)):
                return self._status_of(plugin)
            log.warning("%s has not ended %g s after %s", id, patience, number.name)
        raise DeadlineExceeded(f"it has not ended {ENDING_TIMEOUT:g} s after SIGKILL", operation="stop", id=id)

    def wait(self, id: str, timeout: float | None = None) -> ExitStatus:
        """Wait for the exit of a plugin, ``timeout`` seconds at most, and return how it ended.

        When this returns, the last byte was relayed, and the id is free; the exit handler may still be at work. A
        plugin that has ended before is answered for at once, as ``exit_status`` does. Raises ``NotFound`` for an
        unknown id, ``DeadlineExceeded`` after ``timeout``, ``FailedPrecondition`` if the executor is closed meanwhile.
        """
        try:
            plugin = self._table.get(id)
        except NotFound:
            return self.exit_status(id)
        if not plugin.done.wait(_bounded(timeout)):
            raise DeadlineExceeded(f"it has not ended within {timeout:g} s", operation="wait", id=id)
        return self._status_of(plugin)

    def exit_status(self, id: str) -> ExitStatus:
        """Return how the last plugin of this id ended, from its record; it is kept until the id is created again.

        A root keeps the records of the last 256 ids. Raises ``NotFound`` if there is none, or the plugin lives.
        """
        files = self._root.plugin(id)
        status = None if id in self._table else files.read_exit()
        if status is None:
            raise NotFound("no exit is known of it", operation="exit status", id=id)
        return status

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        """Take an event of containerd; all but the exit of a supervised plugin's init process is ignored.

        Does not block: the exit is dealt with on a thread of its own. containerd reports the ends of execs in the same
        words, and may report an exit twice: only ``process_id == container_id`` with the pid that we know is ours.
        """
        if event_type is EventType.OOM:
            self._table.note_oom(id)
        elif event_type is EventType.EXIT and (plugin := self._table.match_exit(event_info)):
            self._end(plugin, event_info)

    def events_connected(self) -> None:
        """Learn that the event stream stands (again): ends that it missed must be looked for."""
        self._watch.schedule()
        # On this thread, because no operation and no exit waits for it.
        self._client.check_versions()

    def close(self) -> None:
        """Stop supervising: the plugins go on running, and a later ``restore`` loses no byte.

        Waits for exits that are being dealt with, and for operations of other threads. Writers are closed. Whoever
        waits for a plugin gets ``FailedPrecondition``. May be called twice.
        """
        running = self._table.close()
        if running is None:
            return
        self._client.close()
        self._watch.close()
        # One whose end was reported meanwhile is being dealt with.
        ours = [plugin for plugin in running if self._table.claim_exit(plugin)]
        for plugin in ours:
            if plugin.streams:
                plugin.streams.halt()  # all at once: what writers that block cost in time is not added up
        for plugin in ours:
            self._let_go(plugin)
        self._exits.join(ENDING_TIMEOUT)
        self._root.close()

    def _send(self, plugin: SupervisedPlugin, number: int) -> None:
        """Send a signal through containerd, or to the process itself where the runtime has lost its state of it."""
        try:
            self._client.kill(plugin.id, number)
        except NotFound:
            if not self._table.send(plugin, number):
                raise

    def _status_of(self, plugin: SupervisedPlugin) -> ExitStatus:
        if plugin.status is None:
            if self._table.closed:
                raise FailedPrecondition("the executor was closed", operation="wait", id=plugin.id)
            raise NotFound("it was not started", operation="wait", id=plugin.id)
        return plugin.status

    @contextmanager
    def _starting(self, operation: str, id: str) -> Iterator[SupervisedPlugin]:
        """Reserve an id for an operation that starts or finds its plugin; a failure frees it."""
        try:
            plugin = self._table.reserve(check_id(id))
            try:
                self._orphans.wait(id)
                yield plugin
            except BaseException:
                self._table.remove(plugin)
                raise
        except PluginExecError as error:
            error.operation, error.id = operation, id if isinstance(id, str) else None
            raise

    def _supervise(self, plugin: SupervisedPlugin, streams: Streams, pid: int, init: InitProcess | None) -> None:
        """Take a plugin that was started or found into supervision; its exit may have been held back."""
        plugin.streams, plugin.pid, plugin.init = streams, pid, init
        try:
            if init:
                self._watch.add(init)
            # Last: what fails afterwards would close the writers.
            streams.start()
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"no thread or descriptor can be had for it: {error}") from error
        event = self._table.started(plugin)
        if event:
            self._end(plugin, event)
        elif init is None:
            self._watch.schedule(GRACE)

    def _end(self, plugin: SupervisedPlugin, event: EventInfo | None, task: Task | None = None) -> None:
        """Have the end of a plugin, which was claimed, dealt with."""
        try:
            self._exits.start(plugin, event, task)
        except RuntimeError as error:  # no thread can be had: look again when that may have passed
            log.warning("the exit of %s has to wait: %s", plugin.id, error)
            if self._table.closed:
                self._let_go(plugin)
                return
            self._table.unclaim_exit(plugin)
            self._watch.schedule(GRACE)

    def _let_go(self, plugin: SupervisedPlugin) -> None:
        """Stop supervising a plugin: it goes on, and what it prints waits for the next executor."""
        if plugin.streams:
            plugin.streams.stop()
        self._table.remove(plugin)

    def _look(self) -> bool:
        """Look for ends that no event told, and for what could not be deleted; return whether all is settled."""
        self._lifecycle.retry_leftovers(self._table.reserve_for_cleanup)
        exited = self._table.exited()
        if not exited:
            return True
        try:
            tasks = self._client.tasks()
        except PluginExecError as error:
            log.debug("ends cannot be looked for now: %s", error)
            return False
        ended = [plugin for plugin in exited if self._is_over(plugin, tasks.get(plugin.id))]
        if ended:
            self._client.distrust_events()
        for plugin in ended:
            if self._table.claim_exit(plugin):
                self._end(plugin, None, tasks.get(plugin.id))
        return len(ended) == len(exited)

    def _is_over(self, plugin: SupervisedPlugin, task: Task | None) -> bool:
        """Decide on a plugin whose process the kernel says has ended."""
        now = time.monotonic()
        plugin.exit_seen_at = plugin.exit_seen_at or now
        unsettled = task and (task.state is TaskState.UNKNOWN or (task.pid == plugin.pid and task.state in ALIVE))
        return not unsettled or now - plugin.exit_seen_at > TRUST_KERNEL_AFTER


def _bounded(timeout: float | None) -> float | None:
    # Longer ones, such as infinity, are an OverflowError.
    return None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
