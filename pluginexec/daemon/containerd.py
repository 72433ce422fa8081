"""A private containerd: started, watched, restarted and stopped by us.

The model is moby's supervisor: its own session, ``NOTIFY_SOCKET`` stripped, 15 s to start, SIGTERM, 15 s, SIGKILL, and
a containerd that outlived its supervisor is adopted. Unlike it we trust no pid file, and do not retry for ever.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from pluginexec.containerd.remote import DEFAULT_TIMEOUT, Remote
from pluginexec.daemon.child import OPERATION
from pluginexec.daemon.files import DaemonFiles
from pluginexec.daemon.supervisor import Supervisor
from pluginexec.errors import FailedPrecondition


class Containerd:
    """A containerd of our own, under ``directory``; as a context manager, started on entry and stopped on exit.

    It is in a session of its own and survives us: if we are killed, or call ``leave`` instead of ``stop``, the next
    ``start`` on that directory adopts it. When it dies it is started again, after 0.1 s, and after each early death
    twice as long; running tasks survive that. After five deaths in a row, each within 10 s of the start, we give up: an
    error is logged, ``pid`` is ``None``, and ``remote`` and ``start`` raise ``FailedPrecondition`` until ``stop``. One
    that hangs is not restarted.

    - ``directory``: made (0700) if missing. In it: ``config.toml``, ``containerd.sock``, ``containerd.pid``,
      ``containerd.log``, ``root/``, ``state/``, ``lock``. The log and ``root/`` stay after ``stop``; they are yours.
    - ``state``: another directory, made likewise, for all but the log and ``root/``: it need not survive a reboot.
    - ``leave_tasks``: on ``stop``, leave the tasks running, for the next containerd on this directory.
    - ``binary``, ``ctr``: names on the ``PATH``, or paths.
    - ``timeout``: seconds that one command may take, as of ``Remote``; one that runs already and gives no answer in
      that time counts as hung.

    Raises ``InvalidArgument`` for a directory whose path is not UTF-8, or so long that the socket's exceeds 98 bytes;
    ``start`` raises ``InvalidArgument`` or ``PermissionDenied`` for one that is a link, or that other users can change.
    Every method may be called from any thread. In a forked child ``stop`` and ``leave`` touch nothing of the parent's.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        state: str | os.PathLike[str] | None = None,
        leave_tasks: bool = False,
        binary: str = "containerd",
        ctr: str = "ctr",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._files = DaemonFiles(directory, state)
        self._leave_tasks = leave_tasks
        self._binary = binary
        self._remote = Remote(self._files.address, ctr=ctr, timeout=timeout)
        self._mutex = threading.Lock()
        self._supervisor: Supervisor | None = None

    def __repr__(self) -> str:
        state = f"pid={self.pid}" if self.pid else "not running"
        return f"Containerd({str(self._files.directory)!r}, {state})"

    def __enter__(self) -> Containerd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The path of its socket.

        That is ``containerd.sock`` in the directory, or in ``state`` if that was given, unless the path holds ``%``,
        ``?``, ``#`` or an unprintable character: ``ctr`` 1.7 and later take it for a URL. Then it is in
        ``/run/pluginexec-HASH``.
        """
        return self._files.address

    @property
    def log_path(self) -> Path:
        """The file to which containerd's output is appended."""
        return self._files.log

    @property
    def pid(self) -> int | None:
        """Its process id; ``None`` while there is none: not started, between two lives, or given up."""
        supervisor = self._supervisor
        child = supervisor.child if supervisor else None
        return child.pid if child else None

    @property
    def remote(self) -> Remote:
        """How to reach it. ``FailedPrecondition`` once we have given up."""
        supervisor = self._supervisor
        if supervisor and supervisor.failure:
            raise FailedPrecondition(supervisor.failure)
        return self._remote

    def start(self) -> None:
        """Start containerd, or adopt ours from before, and wait until it answers: at most 15 s.

        After an error, a ``KeyboardInterrupt`` too, no process is left.

        - ``FailedPrecondition``: the directory has another supervisor, a binary is missing, containerd ended at once,
          or this object is started already, or has given up;
        - ``DeadlineExceeded``: it ran for 15 s and never answered;
        - ``Unavailable``, ``PermissionDenied``, ``InvalidArgument``: a file or the process cannot be made;
          ``Unavailable`` also if ``stop`` was called meanwhile.
        """
        with self._mutex:
            if self._supervisor:
                message = self._supervisor.failure or "it is started already"
                raise FailedPrecondition(message, operation=OPERATION, hint="call stop() first")
            supervisor = self._supervisor = Supervisor(self._files, self._remote, self._binary)
        try:
            supervisor.start()
        except BaseException:
            self._stop(supervisor, end_tasks=False)
            raise

    def stop(self) -> None:
        """End the tasks that it ran, unless told to leave them, then containerd: SIGTERM, 15 s, SIGKILL.

        Afterwards no shim, logger, mount or cgroup of it is left, also if containerd was dead or hung. A task whose
        output is not read takes 12 s: containerd waits so long for its logger. What cannot be ended is logged. May be
        called again, and after a ``start`` that failed.
        """
        if supervisor := self._own_supervisor():
            self._stop(supervisor, end_tasks=not self._leave_tasks)

    def leave(self) -> None:
        """Stop watching containerd, and leave it and what it runs to the next ``start``, also of another process.

        Its socket stays, and answers. One that is dead at this moment stays so; one that has not answered yet, because
        ``start`` is still at work, is ended. May be called again.
        """
        if supervisor := self._own_supervisor():
            supervisor.leave()
            self._forget(supervisor)

    def _own_supervisor(self) -> Supervisor | None:
        """Return the supervisor, if this process started it; a forked child lets go of its parent's."""
        supervisor = self._supervisor
        if supervisor and not supervisor.maker.is_this_process():
            self._mutex, self._supervisor = threading.Lock(), None  # a thread of the parent's may have held the mutex
            return None
        return supervisor

    def _stop(self, supervisor: Supervisor, *, end_tasks: bool) -> None:
        supervisor.stop(end_tasks=end_tasks)
        self._forget(supervisor)

    def _forget(self, supervisor: Supervisor) -> None:
        with self._mutex:
            if self._supervisor is supervisor:
                self._supervisor = None
