"""One life of a private containerd, from start to stop, and the thread that owns its process."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import threading
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures

from pluginexec.containerd.client import Client
from pluginexec.containerd.remote import Remote
from pluginexec.daemon import launcher
from pluginexec.daemon.child import INSTALL, OPERATION, Child, left_here, spawn
from pluginexec.daemon.cleanup import delete_everything, kill_processes, sweep
from pluginexec.daemon.files import DaemonFiles
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, PluginExecError, Unavailable
from pluginexec.linux.forks import Maker
from pluginexec.linux.poll import wait_readable
from pluginexec.restart_policy import pause_before

log = logging.getLogger(__name__)

STARTUP_TIMEOUT = 15.0
"""Seconds until a containerd that we started must have answered."""
SHUTDOWN_TIMEOUT = 15.0
"""Seconds from SIGTERM to SIGKILL; for one that never answered, ``ABORT_TIMEOUT``."""
ABORT_TIMEOUT = 2.0
FIRST_PAUSE = 0.1
"""Seconds before a dead containerd is started again; twice as long after each early death."""
EARLY_EXIT = 10.0
"""Seconds after its start within which a death is early."""
EARLY_EXITS = 5
"""So many early deaths in a row, and we give up; systemd's default, too. So the longest pause is 0.8 s."""

_POLL = 0.01
_INTERRUPT_POLL = 0.5
_PROBE_TIMEOUT = 3.0
"""Seconds for one question to a containerd that is only starting."""
_SHORTAGE_PATIENCE = 3.0
_STOPPED = "it was stopped as it started"


class Supervisor:
    """Start containerd on the files of a directory, watch it, restart it, stop it; once each.

    The thread that watches also starts it: a ``KeyboardInterrupt`` comes to the main thread only, so none can come
    between the fork and the note of the pid.
    """

    def __init__(self, files: DaemonFiles, remote: Remote, binary: str) -> None:
        self.child: Child | None = None
        self.failure = ""
        """Why we gave up, once we have."""
        self._files = files
        self._remote = remote
        self._binary = binary
        self._probe = dataclasses.replace(remote, timeout=_PROBE_TIMEOUT).new_client("default")
        self.maker = Maker()
        self._mutex = threading.Lock()
        self._stopping = False
        self._sweep = False
        self._leave = False
        self._owned = False
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="pluginexec-containerd", daemon=True)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)

    def start(self) -> None:
        """Return when containerd answers; raise what prevented it. ``stop`` must follow, in any case."""
        self._thread.start()
        # In slices: Python does not notice a Ctrl-C that comes just before it begins to wait for a lock.
        while not self._started.done():
            wait_for_futures([self._started], _INTERRUPT_POLL)
        self._started.result()

    def stop(self, *, end_tasks: bool) -> None:
        """End the tasks, if asked and if it ever answered, then containerd; return when all that is done."""
        with self._mutex:
            first, self._stopping = not self._stopping, True
        if first:
            try:
                if end_tasks and self._started.done() and not self._started.exception():
                    self._sweep = True
                    self._end_tasks()
            finally:
                self._ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join()

    def leave(self) -> None:
        """Watch no longer, and let containerd go on; one that has not answered yet is ended."""
        with self._mutex:
            self._leave = self._leave or not self._stopping
        self.stop(end_tasks=False)

    def _ask_to_stop(self) -> None:
        with self._mutex:
            if self._thread.ident is None:
                os.close(self._wake)
            elif self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            with self._files.taken():
                try:
                    self.child = self._adopt()
                    self._owned = True
                    self.child = self.child or self._launch()
                    self._started.set_result(None)
                    self._watch()
                finally:
                    self._finish()
        except BaseException as error:
            if self._started.done():
                log.exception("the supervisor of containerd failed")
                self.failure = f"the supervisor of containerd failed: {error!r}"
            else:
                self._started.set_exception(error)
        finally:
            with self._mutex:
                os.close(self._wake)
                self._wake = -1

    def _finish(self) -> None:
        child, self.child = self.child, None
        if child and self._leave:
            child.leave()
            return
        try:
            if child:
                child.end(SHUTDOWN_TIMEOUT)
            if self._sweep:
                sweep(self._files, self._remote)
        finally:
            if self._owned:  # else one may run that could not be asked
                self._files.remove()

    def _adopt(self) -> Child | None:
        """Return the one that runs already, ``None`` if none does; one that hangs is killed.

        Raises what keeps us from asking; it is left alone then.
        """
        for pid in self._files.processes():
            try:
                child = Child(pid, left_here(pid))
            except ProcessLookupError:
                continue
            except OSError as error:
                raise Unavailable(f"containerd (pid {pid}) cannot be held: {error.strerror}") from error
            try:
                if self._is_adopted(child):
                    return child
            except BaseException:
                child.leave()
                raise
        return None

    def _is_adopted(self, child: Child) -> bool:
        if not self._files.are_of(child.pid):  # once more: only now is the pidfd known to be of what was looked at
            child.close()
        elif self._await_answer(child, self._remote.timeout, self._remote.new_client("default")):
            log.info("containerd (pid %d) was running already, and is adopted", child.pid)
            return True
        elif self._stop_is_asked():
            raise Unavailable(_STOPPED, operation=OPERATION)
        else:
            log.warning("containerd (pid %d) was running already, and does not answer; killing it", child.pid)
            child.send(signal.SIGKILL)
            child.reap()
        return False

    def _launch(self) -> Child:
        log_start = self._files.log_size()
        child = spawn(self._binary, self._files)
        reason = _STOPPED
        kind: type[PluginExecError] = Unavailable
        try:
            self._files.write_pid(child.pid)
            if self._await_answer(child, STARTUP_TIMEOUT, self._probe):
                return child
            if child.wait(0):
                kind, reason = FailedPrecondition, ""
            elif not self._stop_is_asked():
                kind, reason = DeadlineExceeded, f"it did not answer within {STARTUP_TIMEOUT:g} s"
        except BaseException:
            child.end(ABORT_TIMEOUT)
            raise
        ended = child.end(ABORT_TIMEOUT)
        message = f"{reason or ended}; {self._files.log_end(log_start)}"
        raise kind(message, operation=OPERATION, hint=INSTALL if launcher.CANNOT_RUN in message else None)

    def _await_answer(self, child: Child, timeout: float, client: Client) -> bool:
        """Return whether it answered; if not, it ended, the time is over, or a stop was asked for.

        Raises what kept us from asking: no ``ctr``, or no descriptors for ``_SHORTAGE_PATIENCE`` seconds.
        """
        obstacle = None
        begun = time.monotonic()
        while time.monotonic() < begun + (min(timeout, _SHORTAGE_PATIENCE) if obstacle else timeout):
            if child.wait(_POLL, self._wake):
                return False
            obstacle = None
            try:
                if self._remote.listens():
                    client.server_version()
                    return True
            except DeadlineExceeded:
                pass
            except Unavailable as error:
                obstacle = error if error.returncode is None else None
        if obstacle:
            raise obstacle
        return False

    def _stop_is_asked(self, within: float | None = 0.0) -> bool:
        return bool(wait_readable(within, self._wake))

    def _watch(self) -> None:
        """Return when a stop is asked for."""
        deaths, said = 0, ""
        log_start = self._files.log_size()
        while not self._stop_is_asked():
            if self.child:
                self.child.wait(None, self._wake)
                if self._stop_is_asked():
                    return
                child, self.child = self.child, None
                said = f"{child.reap()}; {self._files.log_end(log_start)}"
                deaths = deaths + 1 if time.monotonic() - child.started < EARLY_EXIT else 0
            if deaths >= EARLY_EXITS:
                self._give_up(said)
                self._stop_is_asked(within=None)
                return
            pause = pause_before(max(0, deaths - 1), FIRST_PAUSE)
            log.warning("%s; starting it again in %g s", said, pause)
            if self._stop_is_asked(within=pause):
                return
            log_start = self._files.log_size()
            try:
                self.child = self._launch()
            except PluginExecError as error:
                deaths, said = deaths + 1, str(error)

    def _give_up(self, said: str) -> None:
        self.failure = f"gave up after containerd died early {EARLY_EXITS} times in a row: {said}"
        log.error("%s; see %s", self.failure, self._files.log)

    def _end_tasks(self) -> None:
        """Delete what it runs, through it; one that hangs is killed, and comes back. The sweep does the rest."""
        try:
            if not self._responds(self._remote.timeout):
                child = self.child
                if child:
                    log.warning("containerd (pid %d) does not answer; killing it", child.pid)
                    child.send(signal.SIGKILL)
                if not self._responds(STARTUP_TIMEOUT):
                    return
        except PluginExecError as error:
            log.warning("its tasks are ended without containerd: %s", error)
            return
        if not delete_everything(self._remote):
            # A shim that hangs keeps its task; once it is dead, containerd lets go.
            kill_processes(self._files)
            delete_everything(self._remote)

    def _responds(self, timeout: float) -> bool:
        client = dataclasses.replace(self._remote, timeout=timeout).new_client("default")
        deadline = time.monotonic() + timeout
        while not self.failure and time.monotonic() < deadline:
            with contextlib.suppress(Unavailable, DeadlineExceeded):
                client.server_version()
                return True
            time.sleep(_POLL)
        return False
