"""The process of a private containerd: started, held, ended, or left running."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil

from pluginexec.containerd.ctr import clean_environment
from pluginexec.daemon import launcher
from pluginexec.daemon.files import DaemonFiles
from pluginexec.errors import FailedPrecondition
from pluginexec.linux.files import file_error, open_plain
from pluginexec.linux.forks import spawning
from pluginexec.linux.pidfd import InitProcess
from pluginexec.linux.poll import wait_readable

log = logging.getLogger(__name__)

OPERATION = "start containerd"
INSTALL = "install it (Debian: apt-get install containerd runc), or name another containerd"
_LAUNCHER = (os.path.realpath(sys.executable), "-I", "-S", launcher.__file__)
_left: dict[int, subprocess.Popen[bytes]] = {}
"""Those that this process started and left: they stay its children, to be reaped by it."""


def left_here(pid: int) -> subprocess.Popen[bytes] | None:
    """Return what reaps a containerd that this process has started and left; ``None`` if it is another's child."""
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


def spawn(binary: str, files: DaemonFiles) -> Child:
    """Start a containerd on these files, in a session of its own; ``FailedPrecondition`` if it cannot be run."""
    path = shutil.which(binary)  # before the change of directory, which the PATH may depend on
    if path is None:
        raise _cannot_run(binary, files, "it is not there, or not executable")
    argv = [*_LAUNCHER, os.path.abspath(path), "--config", str(files.config)]
    environment = clean_environment()
    environment.pop("NOTIFY_SOCKET", None)
    # Of this thread, which is ours; the launcher resets the rest. It is not passed on either.
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process(threading.get_native_id()).ionice(psutil.IOPRIO_CLASS_NONE)
    try:
        output = open_plain(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise file_error(error, f"{str(files.log)!r} cannot be written") from error
    with os.fdopen(output, "ab"), spawning:
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
            raise _cannot_run(binary, files, getattr(error, "strerror", None) or str(error)) from error
    try:
        return Child(popen.pid, popen)
    except BaseException:
        popen.kill()
        popen.wait()
        raise


def _cannot_run(binary: str, files: DaemonFiles, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{launcher.CANNOT_RUN} {binary!r}: {why}",
        operation=OPERATION,
        argv=[binary, "--config", str(files.config)],
        hint=INSTALL,
    )
