"""``pluginexec serve``: supervises the plugins of one root, each on a thread of its own.

::

    STATE/serve.lock     flock: one serve per root
    STATE/serve.sock     datagram socket: any datagram means "look at the records again"
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal as _signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pluginexec.containerd.remote import DEFAULT_TIMEOUT
from pluginexec.daemon.lost_shims import sweep_lost_shims
from pluginexec.daemon.private import find_listening, is_private, not_listening
from pluginexec.daemon.restarter import ContainerdRestarter
from pluginexec.errors import FailedPrecondition, InvalidArgument, PluginExecError, Unavailable
from pluginexec.host.adopt import adopt
from pluginexec.host.host import Host
from pluginexec.host.programs import unrecorded_ids
from pluginexec.host.serve.executors import Executors
from pluginexec.host.serve.plugin_supervisor import PluginSupervisor, Request, is_wanted
from pluginexec.host.serve.sd_notify import Notifier
from pluginexec.linux.files import file_error
from pluginexec.linux.forks import Maker
from pluginexec.linux.locks import release_lock, take_lock_in
from pluginexec.linux.poll import wait_readable
from pluginexec.root.layout import Layout

log = logging.getLogger(__name__)

LOOK_EVERY = 30.0
"""Seconds after which the records are read again without a request."""
_ENDS = (_signal.SIGTERM, _signal.SIGINT)


@dataclass(frozen=True)
class Options:
    """What ``serve`` was asked for.

    - ``address``, ``namespace``: of plugins that have no record;
    - ``live_restore``: in the end, leave the plugins running;
    - ``stop_timeout``: else, how many seconds they have before they are killed;
    - ``timeout``: seconds that one command to containerd may take.
    """

    address: str | None
    namespace: str
    live_restore: bool = False
    stop_timeout: float = 10.0
    timeout: float = DEFAULT_TIMEOUT


class Serve:
    """The supervisor of a root; all but the plugin supervisors' work is done on the thread that calls ``run``."""

    def __init__(self, layout: Layout, options: Options, notifier: Notifier) -> None:
        self._host = Host(layout, options.timeout)
        self._options = options
        self._notifier = notifier
        self._executors = Executors(layout, self._wake_supervisor, options.timeout)
        self._supervisors: dict[str, PluginSupervisor] = {}
        self._restarter: ContainerdRestarter | None = None
        self._changes = -1
        self._warned_of: set[str] = set()
        self._adoption_due = True
        self._ready_due = True
        self._status = ""

    def run(self, signals: int) -> None:
        """Keep the plugins until SIGTERM or SIGINT; ``signals``: a pipe that has the number of each, as a byte.

        Raises ``FailedPrecondition`` if another process does, ``InvalidArgument`` or ``PermissionDenied`` for a root
        that cannot be used.
        """
        maker = Maker()
        with ExitStack() as held:
            requests = held.enter_context(_requests(self._host.layout))
            self._changes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            held.callback(os.close, self._changes)
            try:
                self._serve(signals, requests)
            finally:
                if maker.is_this_process():
                    self._end(signals)

    def _serve(self, signals: int, requests: socket.socket) -> None:
        self._sweep()
        self._look(at_start=True)
        look_at = time.monotonic() + LOOK_EVERY
        while True:
            self._reap()
            self._report()
            readable = wait_readable(look_at - time.monotonic(), signals, requests.fileno(), self._changes)
            if self._changes in readable:
                os.eventfd_read(self._changes)
            number = os.read(signals, 1)[0] if signals in readable else 0
            if number in _ENDS:
                log.info("ending: %s", _signal.Signals(number).name)
                return
            if number == _signal.SIGHUP:
                self._reload()
            if requests.fileno() in readable:
                _drain(requests)
            if number or requests.fileno() in readable or time.monotonic() >= look_at:
                self._look()
                look_at = time.monotonic() + LOOK_EVERY

    def _sweep(self) -> None:
        """End the shims that have been lost; where no containerd runs yet, its start does."""
        layout = self._host.layout
        if remote := find_listening(self._options.address, layout, self._options.timeout):
            private = is_private(remote.address, layout)
            sweep_lost_shims(remote, layout, is_private=private)

    def _reload(self) -> None:
        log.info("reloading")
        self._notifier.reloading()
        self._adoption_due = self._ready_due = True

    def _look(self, *, at_start: bool = False) -> None:
        """Start a supervisor for each plugin that needs one, and wake the others."""
        if self._adoption_due:
            self._adopt_unrecorded()
        for id in reversed(self._host.records.ids()):  # the oldest first
            supervisor = self._supervisors.get(id)
            if supervisor:
                supervisor.wake()
                continue
            try:
                if self._is_due(id, at_start):
                    self._guard(id, at_start)
            except PluginExecError as error:
                self._warn_once(f"{id}: {error}")

    def _is_due(self, id: str, at_start: bool) -> bool:
        state, record = self._host.records.state(id), self._host.records.record(id)
        return (
            state.status in ("running", "restarting")
            or self._host.files(id).exist()
            or is_wanted(self._host, record, state, at_start=at_start)
        )

    def _guard(self, id: str, at_start: bool) -> None:
        self._restart_containerd(self._host.records.record(id).address)
        supervisor = PluginSupervisor(
            self._host, id, self._executors, self._note_change, at_start=at_start, patience=self._options.stop_timeout
        )
        try:
            supervisor.start()
        except RuntimeError as error:
            raise Unavailable(f"cannot supervise it: out of threads: {error}") from error
        self._supervisors[id] = supervisor

    def _restart_containerd(self, address: str) -> None:
        if self._restarter is None and is_private(address, self._host.layout):
            restarter = ContainerdRestarter(self._host.layout, self._options.timeout)
            restarter.start()
            self._restarter = restarter

    def _adopt_unrecorded(self) -> None:
        """Make records of plugins without one; once, and again if that fails for now."""
        self._adoption_due = False
        for id in unrecorded_ids(self._host.layout, self._host.records.ids()):
            try:
                adopt(self._host, id, self._address_of_unrecorded(), self._options.namespace)
                log.info("%s: adopted, it had no record", id)
            except PluginExecError as error:
                self._adoption_due = True
                self._warn_once(f"{id}: it cannot be adopted: {error}")

    def _address_of_unrecorded(self) -> str:
        # None is started: what another containerd does not know would count as ended.
        listening = find_listening(self._options.address, self._host.layout)
        if listening is None:
            raise not_listening(self._options.address)
        return listening.address

    def _wake_supervisor(self, id: str) -> None:
        supervisor = self._supervisors.get(id)
        if supervisor:
            supervisor.wake()

    def _note_change(self) -> None:
        os.eventfd_write(self._changes, 1)

    def _reap(self) -> None:
        """Join the supervisors that have finished; start anew where one was woken too late."""
        over = [supervisor for supervisor in self._supervisors.values() if supervisor.is_over]
        woken_late = False
        for supervisor in over:
            woken_late = supervisor.join() or woken_late
            del self._supervisors[supervisor.id]
        if woken_late:
            self._look()

    def _report(self) -> None:
        """Report to systemd what runs, and, once that is so, that all is restored."""
        doing = Counter(supervisor.doing for supervisor in list(self._supervisors.values()))
        status = ", ".join(f"{doing[word]} {word}" for word in ("running", "restarting", "waiting") if doing[word])
        status = f"plugins: {status or 'none'}"
        if self._ready_due:
            if all(supervisor.has_looked.is_set() for supervisor in self._supervisors.values()):
                self._ready_due = False
                self._notifier.ready(status)
                log.info("ready; %s", status)
        elif status != self._status:
            self._notifier.status(status)
        self._status = status

    def _warn_once(self, message: str) -> None:
        if message not in self._warned_of:
            self._warned_of.add(message)
            log.warning("%s", message)

    def _end(self, signals: int) -> None:
        """Leave the plugins or stop them, as was asked for; then let go of all."""
        leave = self._options.live_restore
        self._notifier.stopping("leaving the plugins running" if leave else "stopping the plugins")
        for supervisor in self._supervisors.values():
            supervisor.tell(Request.DETACH if leave else Request.STOP)
        if leave:
            self._executors.close()
        while any(not supervisor.is_over for supervisor in self._supervisors.values()):
            readable = wait_readable(None, signals, self._changes)
            if self._changes in readable:
                os.eventfd_read(self._changes)
            if signals in readable and os.read(signals, 1)[0] in _ENDS and not leave:
                for supervisor in self._supervisors.values():
                    supervisor.tell(Request.KILL)
        for supervisor in self._supervisors.values():
            supervisor.join()
        self._executors.close()
        if self._restarter:
            self._restarter.close()


@contextlib.contextmanager
def _requests(layout: Layout) -> Iterator[socket.socket]:
    """Lock the root, and listen to those who ask us to look."""
    try:
        lock = take_lock_in(layout.make, layout.serve_lock)
    except OSError as error:
        raise file_error(error, f"state directory {str(layout.state)!r} cannot be used") from error
    if lock is None:
        hint = "stop that one first, or give this one another --root"
        raise FailedPrecondition(f"another 'pluginexec serve' keeps the plugins of {str(layout.root)!r}", hint=hint)
    path = layout.serve_socket
    with ExitStack() as held:
        held.callback(release_lock, lock)
        requests = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
        try:
            path.unlink(missing_ok=True)
            requests.bind(str(path))
        except OSError as error:
            if error.errno is None:  # Python's own: the path is too long
                raise InvalidArgument(f"socket {str(path)!r}: {error}", hint="use a shorter --state") from error
            raise file_error(error, f"socket {str(path)!r} cannot be made") from error
        held.callback(_unlink_own, path, Maker())
        yield requests


def _unlink_own(path: Path, maker: Maker) -> None:
    if maker.is_this_process():
        path.unlink(missing_ok=True)


def _drain(requests: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            requests.recv(16)
