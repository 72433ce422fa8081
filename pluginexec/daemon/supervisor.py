"""One life of a private containerd, from start to stop, and the thread that owns its process."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures

from pluginexec.containerd.client import Client
from pluginexec.containerd.ctr import clean_environment
from pluginexec.containerd.remote import Remote
from pluginexec.daemon.cleanup import delete_everything, kill_processes, sweep
from pluginexec.daemon.files import DaemonFiles
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, PluginExecError, Unavailable
from pluginexec.linux.files import file_error, open_plain
from pluginexec.linux.forks import Maker
from pluginexec.linux.pidfd import InitProcess
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
OPERATION = "start containerd"

_POLL = 0.01
_INTERRUPT_POLL = 0.5
_PROBE_TIMEOUT = 3.0
"""Seconds for one question to a containerd that is only starting."""
_left: dict[int, subprocess.Popen[bytes]] = {}
"""Those that this process started and left: they stay its children, to be reaped by it."""


def _left_here(pid: int) -> subprocess.Popen[bytes] | None:
    for each, popen in list(_left.items()):
        if popen.poll() is not None:
            _left.pop(each, None)
    return _left.get(pid)


class Child:
    """A containerd, held by a pidfd: never a pid that may have become another process. It may be an adopted one."""

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.started = time.monotonic()
        self._popen = popen
        self._mutex = threading.Lock()
        self._process = InitProcess(pid, os.pidfd_open(pid))

    def wait(self, timeout: float | None, *others: int) -> bool:
        """Wait until it has ended or another descriptor is readable; return whether any of that came in time."""
        return bool(wait_readable(timeout, self._process.pidfd, *others))

    def send(self, number: signal.Signals) -> None:
        """Send a signal, from any thread; nothing happens if it has ended."""
        with self._mutex:
            self._process.send(number)

    def end(self, timeout: float) -> str:
        """SIGTERM, ``timeout`` seconds, SIGKILL; then as ``reap``."""
        self.send(signal.SIGTERM)
        if not self.wait(timeout):
            log.warning("containerd (pid %d) did not end within %g s of SIGTERM; killing it", self.pid, timeout)
            self.send(signal.SIGKILL)
        return self.reap()

    def reap(self) -> str:
        """Wait for its end, reap it, and say how it ended."""
        self.wait(None)
        code = self._popen.wait() if self._popen else None
        self.close()
        if code is None:
            return f"containerd (pid {self.pid}) ended"
        return f"containerd (pid {self.pid}) ended " + (f"by signal {-code}" if code < 0 else f"with code {code}")

    def leave(self) -> None:
        """Let go of it while it runs."""
        if self._popen:
            _left[self.pid] = self._popen
        self.close()

    def close(self) -> None:
        """Let go of it."""
        with self._mutex:
            self._process.close()


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
                    self.child = self._adopt() or self._launch()
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
            self._files.remove()

    def _adopt(self) -> Child | None:
        for pid in self._files.processes():
            try:
                child = Child(pid, _left_here(pid))
            except OSError:
                continue
            if not self._files.are_of(pid):  # once more: only now is the pidfd known to be of the process looked at
                child.close()
            elif self._await_answer(child, self._remote.timeout, self._remote.new_client("default")):
                log.info("containerd (pid %d) was running already, and is adopted", pid)
                return child
            else:
                log.warning("containerd (pid %d) was running already, and does not answer; killing it", pid)
                child.send(signal.SIGKILL)
                child.reap()
        return None

    def _launch(self) -> Child:
        log_start = self._files.log_size()
        child = self._spawn()
        reason = "it was stopped as it started"
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
        raise kind(f"{reason or ended}; {self._files.log_end(log_start)}", operation=OPERATION)

    def _spawn(self) -> Child:
        found = shutil.which(self._binary)  # before the change of directory, which the PATH may depend on
        argv = [os.path.abspath(found) if found else self._binary, "--config", str(self._files.config)]
        environment = clean_environment()
        environment.pop("NOTIFY_SOCKET", None)
        try:
            output = open_plain(self._files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise file_error(error, f"{str(self._files.log)!r} cannot be written") from error
        with os.fdopen(output, "ab"):
            try:
                popen = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",  # it may outlive us, and must not keep a file system from being unmounted
                    env=environment,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise FailedPrecondition(
                    f"cannot run {self._binary!r}: {getattr(error, 'strerror', None) or error}",
                    operation=OPERATION,
                    argv=argv,
                    hint="install it (Debian: apt-get install containerd runc), or name another containerd",
                ) from error
        try:
            return Child(popen.pid, popen)
        except BaseException:
            popen.kill()
            popen.wait()
            raise

    def _await_answer(self, child: Child, timeout: float, client: Client) -> bool:
        """Return whether it answered; if not, it ended, the time is over, or a stop was asked for."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not child.wait(_POLL, self._wake):
            if self._remote.listens():
                with contextlib.suppress(Unavailable, DeadlineExceeded):
                    client.server_version()
                    return True
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
