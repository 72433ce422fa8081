"""``pluginexec serve``: on a thread of the tests, with the pipe of signals that the command has; or as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import psutil

from pluginexec import PLUGIN_NAMESPACE
from pluginexec.host.serve.sd_notify import Notifier
from pluginexec.host.serve.service import Options, Serve
from tests.support.harness import PATIENCE, wait_until
from tests.support.layouts import one_directory


class Serving:
    """A serve on a thread of its own; what it raises comes out of ``end``."""

    def __init__(self, root: Path, address: str, **options: object) -> None:
        self._pending, self._wakeup = os.pipe()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        settings = Options(address, PLUGIN_NAMESPACE, **options)  # type: ignore[arg-type] # what a test wants
        self.serve = Serve(one_directory(root), settings, _Readiness(self._ready))
        self._thread = threading.Thread(target=self._run, name="pluginexec-serve-of-a-test")
        self._thread.start()

    def await_ready(self) -> None:
        """Wait until all is restored."""
        wait_until(lambda: self._ready.is_set() or self._error, "readiness")
        assert self._error is None

    def send(self, number: signal.Signals) -> None:
        """Have it take a signal."""
        self._ready.clear()
        os.write(self._wakeup, bytes([number]))

    def end(self) -> None:
        """End it as SIGTERM does; may be called again."""
        if self._pending < 0:
            return
        os.write(self._wakeup, bytes([signal.SIGTERM]))
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive()
        os.close(self._pending)
        os.close(self._wakeup)
        self._pending = -1
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            self.serve.run(self._pending)
        except BaseException as error:
            self._error = error


class _Readiness(Notifier):
    def __init__(self, event: threading.Event) -> None:
        super().__init__(None)
        self._event = event

    def ready(self, status: str) -> None:
        """Note it."""
        self._event.set()


class ServeProcess:
    """A serve in a process of its own; what it logs is kept."""

    def __init__(self, argv: list[str], log: Path, **environment: str) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stderr=output, env={**os.environ, **environment}
            )
        self.pid = self._process.pid

    @property
    def logged(self) -> list[str]:
        """The lines that it, and those before it with this log, have logged."""
        return self._log.read_text().splitlines()

    def await_line(self, text: str) -> None:
        """Wait until it has logged a line with this text."""
        wait_until(lambda: any(text in line for line in self.logged) or self._has_ended(), f"{text!r} in the log")
        assert any(text in line for line in self.logged), self.logged

    def children(self) -> list[psutil.Process]:
        """Return the processes below it."""
        return psutil.Process(self.pid).children(recursive=True)

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, unless it has ended, and return its exit code."""
        if not self._has_ended():
            self.send(number)
        return self._process.wait(2 * PATIENCE)

    def _has_ended(self) -> bool:
        return self._process.poll() is not None
