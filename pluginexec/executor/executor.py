"""The executor: the public operations on plugins; each exit is delivered exactly once.

``Executor.__init__`` ties these objects together; the links with a name are callbacks::

    containerd --> EventStream --> PluginTable.match_exit --------------+
                    ^                                                   v
                    | replace_events                             ExitProcessor --> handler
                    |                                                   ^  |
    kernel --> ExitWatcher --> Reconciler --> PluginTable.claim_exit ---+  | keep
                    ^            | retry_cleanup                           v
                    +-- on_kept -+----------> DeferredCleanup <-- keep -- Lifecycle
"""

from __future__ import annotations

import logging
import os
import signal as _signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from pluginexec.cleanup.inflight import InFlightCommands
from pluginexec.cleanup.unfinished import Unfinished
from pluginexec.containerd.client import DELETE_TIMEOUT
from pluginexec.containerd.events import EventStream
from pluginexec.containerd.remote import Remote
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, NotFound, PluginExecError, Unavailable, Unknown
from pluginexec.executor.deferred_cleanup import DeferredCleanup
from pluginexec.executor.exit_watcher import GRACE
from pluginexec.executor.exits import ExitHandler, ExitProcessor
from pluginexec.executor.lifecycle import Lifecycle
from pluginexec.executor.plugins import PluginTable, SupervisedPlugin
from pluginexec.executor.reconciler import Reconciler
from pluginexec.executor.signals import kill_notice, send, send_to_end
from pluginexec.executor.start_watch import StartWatch, cgroup_of_held
from pluginexec.linux.cgroups import cgroups_path_of
from pluginexec.linux.pidfd import InitProcess
from pluginexec.oci.spec import SpecSource, load_spec
from pluginexec.root.layout import DEFAULT_STATE
from pluginexec.root.root import Root
from pluginexec.streams.sinks import Sink, check_sink
from pluginexec.streams.streams import DRAIN_TOTAL, Streams
from pluginexec.types import PLUGIN_NAMESPACE, EventInfo, EventType, ExitStatus
from pluginexec.validation import check_id, parse_signal

log = logging.getLogger(__name__)

EXIT_TIMEOUT = DELETE_TIMEOUT + DRAIN_TOTAL
"""Seconds in which a plugin that has exited is deleted and drained, at the very most."""
_RETRY_CLEANUP_AFTER = 5.0


class Executor:
    """Runs and supervises plugin containers of one root directory, in one containerd namespace.

    - ``root_dir``: made if it is not there, mode 0700; one executor at a time may use it. What is in it need not
      survive a reboot. It must not be a link, and no other user may be able to change it;
    - ``remote``: the containerd; by default ``Remote()``;
    - ``exit_handler``: called for every exit, exactly once;
    - ``namespace``: containerd's; moby keeps its plugins in ``plugins.moby``;
    - ``shared``: other executors with this flag may use the root as well, and no old exit record is removed. Then the
      callers must make sure that no two of them use one id.

    A context manager: leaving it closes the executor, and the plugins go on running. All methods may be called from
    any thread; in a forked child ``close`` does nothing, and what supervises is refused. Raises ``FailedPrecondition``
    if another executor uses the root, ``InvalidArgument`` or ``PermissionDenied`` if it cannot be used at all,
    ``Unavailable`` if out of threads or file descriptors. If containerd does not run, the first operation raises
    ``Unavailable``; it may be started later, and be restarted at any time.
    """

    def __init__(
        self,
        root_dir: str | os.PathLike[str] = DEFAULT_STATE,
        remote: Remote | None = None,
        exit_handler: ExitHandler | None = None,
        *,
        namespace: str = PLUGIN_NAMESPACE,
        shared: bool = False,
    ) -> None:
        client = self._client = (remote or Remote()).new_client(namespace)
        self._root = Root(root_dir, shared=shared)
        self._deferred = DeferredCleanup(
            lambda: self._reconciler.schedule(_RETRY_CLEANUP_AFTER),
            Unfinished(self._root.unfinished, client.ctr.address, namespace),
        )
        self._lifecycle = Lifecycle(client, self._root, self._deferred)
        self._table = PluginTable(self._root, EXIT_TIMEOUT)
        self._exits = ExitProcessor(client, self._lifecycle, self._deferred, self._table.remove, exit_handler)
        try:
            with ExitStack() as undo:
                undo.callback(self._root.close)
                runtime_flags = client.runtime_flags(self._root.runtime_root)
                self._in_flight = InFlightCommands(client.ctr.target, runtime_flags)
                self._reconciler = Reconciler(
                    client,
                    self._table,
                    self._exits,
                    retry_cleanup=self._retry_cleanup,
                    replace_events=lambda: self._events.distrust(),
                )
                undo.callback(self._reconciler.close)
                self._events = EventStream(client.ctr, self)
                undo.callback(self._events.close)
                if self._deferred.load(self._lifecycle.delete_unfinished):
                    self._reconciler.schedule()
                undo.pop_all()
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"cannot create the executor: out of threads or file descriptors: {error}") from error

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def root_dir(self) -> Path:
        """The root directory, absolute."""
        return self._root.path

    def create(self, id: str, spec: SpecSource, stdout: Sink = None, stderr: Sink = None) -> None:
        """Create a container and start it; return when the plugin runs.

        ``spec`` is an OCI runtime spec: a dict, the path of a ``config.json``, or a bundle directory. ``stdout`` and
        ``stderr`` are each a writer (``write(bytes)`` and ``close()``, called from another thread, closed exactly once,
        after the last byte), a path (the plugin's logger appends to it, and no byte passes through this process), or
        ``None`` (discarded). Stdin is ``/dev/null``.

        A stale container of the id (without a task, stopped, or never started) is replaced, and so is stale state of
        the runtime. Any failure leaves nothing behind and closes no writer. Raises:

        - ``AlreadyExists``: a plugin with this id runs; it is left as it is;
        - ``InvalidArgument``: the id, the spec, a sink, or an executable that is not there;
        - ``FailedPrecondition``: ``ctr``, the shim or the runtime is missing, or the executor is closed;
        - ``Unavailable``, ``DeadlineExceeded``, ``PermissionDenied``: of containerd.
        """
        with self._starting("create", id) as plugin:
            checked = load_spec(spec)
            check_sink(stdout)
            check_sink(stderr)
            watch = StartWatch(plugin.files, checked)
            streams = self._lifecycle.start(plugin.files, checked, stdout, stderr, watch)
            try:
                pid = plugin.files.read_pid()
                if pid is None:
                    raise Unknown("ctr started it but wrote no pid")
                init = watch.take(pid)
                if init and not init.has_ended():
                    streams.widen(pid)
                plugin.cgroups_path = watch.cgroup
                self._supervise(plugin, streams, pid, init)
            except BaseException:
                streams.stop()
                self._lifecycle.remove_half_made(id)
                plugin.files.remove()
                raise
            self._lifecycle.warn_of_dropped(id, checked)

    def restore(self, id: str, stdout: Sink = None, stderr: Sink = None) -> bool:
        """Take over a plugin that runs already, after a restart of this process; return whether it runs.

        ``True``: it runs or is paused; its streams are relayed from where the last executor stopped. ``False``: it has
        ended, or was never started, or is not there; what it had still written was delivered, the writers are closed,
        container and files are gone, and ``exit_status`` returns how it ended, if known. The exit handler is not
        called.

        Sinks are as in ``create``, but a stream that was created with a path or ``None`` goes on as it was. A plugin
        that something else created in this namespace is relayed from the FIFOs at its shim, if it has any. Raises
        ``AlreadyExists`` if this executor supervises it already, else as ``create``.
        """
        with self._starting("restore", id) as plugin:
            check_sink(stdout)
            check_sink(stderr)
            spec = plugin.files.read_spec()
            plugin.cgroups_path = cgroups_path_of(spec)
            has_files = plugin.files.exist()
            # The read ends, then the lock, then anything else: see the logger.
            streams = Streams.open(plugin.files, stdout, stderr)
            try:
                task, init = self._lifecycle.find(plugin.files)
                # One that has ended has no more output: its shim has closed FIFOs that had no reader.
                if init and not has_files:
                    streams.discard()
                    streams = Streams.attach(id, init.pid, stdout, stderr)
                if task and init:
                    plugin.cgroups_path = cgroup_of_held(init, spec)
                    self._supervise(plugin, streams, task.pid, init)
                    self._deferred.discard(id)
                    return True
                plugin.streams = streams
                self._exits.process_unsupervised(plugin, task)
            except BaseException:
                streams.stop()
                raise
            self._table.remove(plugin)
            return False

    def is_running(self, id: str) -> bool:
        """Return whether a plugin runs, or is paused; starts no process.

        Raises ``NotFound`` for an id that this executor does not supervise, such as that of a plugin whose exit was
        processed.
        """
        return self._table.is_alive(self._table.get(id))

    def pid(self, id: str) -> int:
        """Return the pid, on the host, of a plugin's init process; ``NotFound`` as ``is_running``."""
        return self._table.get(id).pid

    def signal(self, id: str, signal: int | str) -> None:
        """Send a signal to the init process: a number, a ``signal.Signals``, or a name (``"TERM"``, ``"SIGTERM"``).

        Raises ``InvalidArgument`` for an unknown signal, ``NotFound`` if there is no such plugin or it has ended.
        """
        number = parse_signal(signal)
        plugin = self._table.get(id)
        if not self._table.is_alive(plugin):
            raise NotFound("it has ended", operation="signal", id=id)
        send(self._client, self._table, plugin, number)

    def stop(self, id: str, timeout: float = 10.0) -> ExitStatus:
        """Send SIGTERM, wait ``timeout`` seconds, send SIGKILL if it still runs, and wait for the exit.

        A paused plugin is resumed when the signal is sent. Raises ``NotFound`` if there is no such plugin,
        ``DeadlineExceeded`` if even SIGKILL does not end it.
        """
        plugin = self._table.get_own(id)
        for number, seconds in ((_signal.SIGTERM, timeout), (_signal.SIGKILL, EXIT_TIMEOUT)):
            if self._table.is_alive(plugin):
                send_to_end(self._client, self._table, plugin, number)
            if plugin.done.wait(_bounded(seconds)):
                return self._status_of(plugin)
            if seconds and number is not _signal.SIGKILL:
                log.warning("%s: %s", id, kill_notice(number, seconds))
        raise DeadlineExceeded(f"it has not ended {EXIT_TIMEOUT:g} s after SIGKILL", operation="stop", id=id)

    def wait(self, id: str, timeout: float | None = None) -> ExitStatus:
        """Wait for the exit of a plugin, ``timeout`` seconds at most, and return how it ended.

        When this returns, the last byte was relayed, and the id is free; the exit handler may still be at work. For
        a plugin that has ended before it returns at once, as ``exit_status`` does. Raises ``NotFound`` for an
        unknown id, ``DeadlineExceeded`` after ``timeout``, ``FailedPrecondition`` if the executor is closed meanwhile.
        """
        try:
            plugin = self._table.get_own(id)
        except NotFound:
            return self.exit_status(id)
        if not plugin.done.wait(_bounded(timeout)):
            raise DeadlineExceeded(f"it has not ended within {timeout:g} s", operation="wait", id=id)
        return self._status_of(plugin)

    def exit_status(self, id: str) -> ExitStatus:
        """Return how the last plugin of this id ended, from its record; it is kept until the id is created again.

        A root keeps the records of the last 256 ids. Raises ``NotFound`` if there is none, or the plugin runs.
        """
        files = self._root.plugin(id)
        status = None if id in self._table else files.read_exit()
        if status is None:
            raise NotFound("no exit is known of it", operation="exit status", id=id)
        return status

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        """Process an event of containerd; all but the exit of a supervised plugin's init process is ignored.

        Does not block: the exit is processed on a thread of its own. containerd reports the exits of execs in the same
        words, and may report an exit twice: only ``process_id == container_id`` with the known pid counts.
        """
        if event_type is EventType.OOM:
            self._table.record_oom(id)
        elif event_type is EventType.EXIT and (plugin := self._table.match_exit(event_info)):
            self._reconciler.start_exit(plugin, event_info)

    def events_connected(self) -> None:
        """Reconcile, because the event stream is active (again), and may have missed exits before."""
        log.debug("the event stream is active: reconciling")
        self._reconciler.schedule()
        # On this thread, because no operation and no exit waits for it.
        self._client.check_versions()

    def close(self) -> None:
        """Stop supervising: the plugins go on running, and a later ``restore`` loses no byte.

        Waits for exits that are being processed, and for operations of other threads. Writers are closed. A ``wait``
        that is under way raises ``FailedPrecondition``. May be called twice.
        """
        running = self._table.close()
        if running is None:
            return
        self._events.close()
        self._reconciler.close()
        # One whose exit was reported meanwhile is being processed.
        claimed = [plugin for plugin in running if self._table.claim_exit(plugin)]
        for plugin in claimed:
            if plugin.streams:
                plugin.streams.halt()  # all at once: the delays of writers that block do not add up
        for plugin in claimed:
            self._table.release(plugin)
        self._exits.join(EXIT_TIMEOUT)
        self._root.close()

    def _retry_cleanup(self) -> None:
        self._deferred.retry(self._table.reserve_for_cleanup, self._lifecycle.remove_half_made)

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
                self._in_flight.wait(id)
                yield plugin
            except BaseException:
                self._table.remove(plugin)
                raise
        except PluginExecError as error:
            error.operation, error.id = operation, id if isinstance(id, str) else None
            raise

    def _supervise(self, plugin: SupervisedPlugin, streams: Streams, pid: int, init: InitProcess | None) -> None:
        """Start to supervise a plugin that was started or found; its exit may have been held back."""
        plugin.streams, plugin.pid, plugin.init = streams, pid, init
        try:
            self._reconciler.watch(plugin)
            # Last: what fails afterwards would close the writers.
            streams.start()
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"cannot supervise it: out of threads or file descriptors: {error}") from error
        event = self._table.started(plugin)
        if event:
            self._reconciler.start_exit(plugin, event)
        elif init is None:
            self._reconciler.schedule(GRACE)


def _bounded(timeout: float | None) -> float | None:
    # Longer ones, such as infinity, are an OverflowError.
    return None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
