"""A plugin in the hands of a test."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluginexec.containerd.runc import Command, RuntimeExec
from pluginexec.errors import FailedPrecondition, NotFound, PluginExecError
from pluginexec.executor.executor import Executor
from pluginexec.linux.cgroups import cgroups_path_of, is_paused
from pluginexec.testing.output import Output
from pluginexec.types import ExitStatus


@dataclass(frozen=True)
class ExecResult:
    """How a command in a plugin ended: ``exit_code``, 128+n for signal n, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Runtime:
    """Where the OCI runtime has the plugins of an executor: ``binary``, ``root``; ``files`` is for what execs need."""

    binary: str | None
    root: Path
    files: Path


class PluginHandle:
    """A plugin that a test runs; the fixture ``plugin`` makes it, and ends it when the test is over.

    ``id`` and ``pid`` (of its init process, on the host) stay what they are. Where a ``timeout`` is ``None``, it is
    that of the option ``pluginexec_timeout``; all are seconds. Every method may be called from any thread.
    """

    def __init__(
        self, executor: Executor, id: str, spec: Mapping[str, Any], output: Output, runtime: Runtime, timeout: float
    ) -> None:
        self.id = id
        self._executor = executor
        self._spec = spec
        self._output = output
        self._runtime = runtime
        self._timeout = timeout
        self._status: ExitStatus | None = None
        try:
            self.pid = executor.pid(id)
        except NotFound:  # it has ended
            self.pid = executor.wait(id, timeout).pid

    def __repr__(self) -> str:
        return f"<PluginHandle {self.id}: {self._state()}>"

    @property
    def stdout(self) -> str:
        """What it has printed to its stdout so far, the last 16 MiB; bytes that are no UTF-8 show as U+FFFD."""
        return self._output.stdout.text()

    @property
    def stderr(self) -> str:
        """As ``stdout``, of its stderr."""
        return self._output.stderr.text()

    @property
    def exit_status(self) -> ExitStatus | None:
        """How it ended; ``None`` while it runs, or where nobody knows."""
        if self._status is None:
            with contextlib.suppress(PluginExecError):
                self._take(self._executor.exit_status(self.id))
        return self._status

    def is_running(self) -> bool:
        """Tell whether it runs, or is paused."""
        with contextlib.suppress(NotFound):
            return self._executor.pid(self.id) == self.pid and self._executor.is_running(self.id)
        return False

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait for its end, and return how it ended; ``stdout`` and ``stderr`` are whole then.

        Raises ``DeadlineExceeded`` after ``timeout`` seconds.
        """
        return self.exit_status or self._take(self._executor.wait(self.id, self._limit(timeout)))

    def signal(self, signal: int | str) -> None:
        """Send a signal, a number or a name, to its init process; ``NotFound`` if it has ended."""
        self._executor.signal(self.id, signal)

    def stop(self, timeout: float = 10.0) -> ExitStatus:
        """Send SIGTERM, wait ``timeout`` seconds, send SIGKILL; return how it ended, also if it had before."""
        try:
            return self._take(self._executor.stop(self.id, timeout))
        except NotFound:
            return self.wait()

    def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """Run a command in it, to its end, without stdin; what is not given is as for the plugin's own process.

        ``env`` is added to its environment; ``user`` is a name or number, with a group behind a colon if need be.
        Raises ``InvalidArgument`` for a program that is not there, ``FailedPrecondition`` if the plugin does not run or
        is paused, ``DeadlineExceeded`` after ``timeout`` seconds; the command is killed then.
        """
        what = Command(tuple(command), tuple(f"{key}={value}" for key, value in (env or {}).items()), (), cwd, user)
        self._need_running("exec")
        process = what.process(self._spec)
        runtime, files = self._runtime, self._runtime.files
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            with RuntimeExec(
                self.id, what, process, runtime=runtime.binary, runtime_root=runtime.root, within=files
            ) as running:
                running.start(stdout)
                code = running.wait(stderr, self._limit(timeout))
            texts = []
            for file in (stdout, stderr):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return ExecResult(code, *texts)

    def wait_for_output(self, pattern: str | re.Pattern[str], timeout: float | None = None) -> re.Match[str]:
        """Wait until the regular expression ``pattern`` is found in what it has printed so far, and return the match.

        Its stdout is searched, then its stderr. Fails the test (``AssertionError``) at once when the plugin ends
        without it, with how it ended and what it printed last, and after ``timeout`` seconds, with the same.
        """
        __tracebackhide__ = True
        wanted, limit = re.compile(pattern), self._limit(timeout)
        deadline = time.monotonic() + limit
        while True:
            seen, more = self._output.look()  # before the search, so that nothing that comes meanwhile is missed
            found = wanted.search(self.stdout) or wanted.search(self.stderr)
            if found:
                return found
            if not more:
                with contextlib.suppress(PluginExecError):
                    self.wait(max(0.0, deadline - time.monotonic()))
                raise AssertionError(f"plugin {self.id} ended without printing {wanted.pattern!r}\n{self.report()}")
            if not self._output.wait_for_more(seen, max(0.0, deadline - time.monotonic())):
                raise AssertionError(
                    f"plugin {self.id} has not printed {wanted.pattern!r} in {limit:g} s\n{self.report()}"
                )

    def report(self) -> str:
        """Return how it is or ended, and the last lines that it printed, for people."""
        return f"{self._state()}\n{self._output.ends()}"

    def _need_running(self, operation: str) -> None:
        if not self.is_running():
            raise FailedPrecondition("it is not running", operation=operation, id=self.id)
        if is_paused(cgroups_path_of(self._spec)):
            raise FailedPrecondition("it is paused", operation=operation, id=self.id, hint="let it go on first")

    def _state(self) -> str:
        if self.is_running():
            return f"running (pid {self.pid})"
        status = self.exit_status
        if status is None:
            return f"not running (pid {self.pid}); how it ended is not known"
        code = "an unknown code" if status.exit_code is None else f"code {status.exit_code}"
        return f"ended with {code}" + (", out of memory" if status.oom_killed else "") + f" (pid {self.pid})"

    def _take(self, status: ExitStatus) -> ExitStatus:
        if status.pid == self.pid:  # else its id was created anew since
            self._status = status
        return status

    def _limit(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout
