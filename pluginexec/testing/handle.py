"""A plugin that a test runs."""

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
from pluginexec.linux.cgroups import cgroup_of, is_paused
from pluginexec.testing.output import Output
from pluginexec.types import ExitStatus


@dataclass(frozen=True)
class ExecResult:
    """How a command in a plugin exited: ``exit_code``, 128+n for signal n, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Runtime:
    """The OCI runtime of an executor's plugins: its ``binary`` and ``root``; ``files`` holds what execs need."""

    binary: str | None
    root: Path
    files: Path


class PluginHandle:
    """A plugin that a test runs; the fixture ``plugin`` makes it, and ends it when the test is over.

    ``id`` and ``pid`` (of its init process, on the host) never change. Timeouts are in seconds, and default to the
    option ``pluginexec_timeout``. Every method may be called from any thread.
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
        except NotFound:  # it has exited
            self.pid = executor.wait(id, timeout).pid

    def __repr__(self) -> str:
        return f"<PluginHandle {self.id}: {self._state()}>"

    @property
    def stdout(self) -> str:
        """What it has printed to stdout so far, the last 16 MiB; bytes that are not UTF-8 become U+FFFD."""
        return self._output.stdout.text()

    @property
    def stderr(self) -> str:
        """What it has printed to stderr so far, as ``stdout``."""
        return self._output.stderr.text()

    @property
    def exit_status(self) -> ExitStatus | None:
        """How it exited; ``None`` while it runs, or if that is unknown."""
        if self._status is None:
            with contextlib.suppress(PluginExecError):
                self._remember(self._executor.exit_status(self.id))
        return self._status

    def is_running(self) -> bool:
        """Return whether it is running or paused."""
        with contextlib.suppress(NotFound):
            return self._executor.pid(self.id) == self.pid and self._executor.is_running(self.id)
        return False

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until it exits, and return how; ``stdout`` and ``stderr`` are complete then.

        Raises ``DeadlineExceeded`` after ``timeout`` seconds.
        """
        return self.exit_status or self._remember(self._executor.wait(self.id, self._limit(timeout)))

    def signal(self, signal: int | str) -> None:
        """Send a signal, a number or a name, to its init process; ``NotFound`` if it has exited."""
        self._executor.signal(self.id, signal)

    def stop(self, timeout: float = 10.0) -> ExitStatus:
        """Send SIGTERM, wait ``timeout`` seconds, send SIGKILL; return how it exited, also if it had before."""
        try:
            return self._remember(self._executor.stop(self.id, timeout))
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
        """Run a command in it until it exits, without stdin; what is not given is as for the plugin's own process.

        ``env`` is added to the environment; ``user`` is a name or number, optionally with a group after a colon. Raises
        ``InvalidArgument`` for a program that does not exist, ``FailedPrecondition`` if the plugin is not running or is
        paused, and ``DeadlineExceeded`` after ``timeout`` seconds, when the command is killed.
        """
        command_line = Command(
            tuple(command), tuple(f"{key}={value}" for key, value in (env or {}).items()), (), cwd, user
        )
        self._check_running("exec")
        process = command_line.process(self._spec)
        runtime, files = self._runtime, self._runtime.files
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            with RuntimeExec(
                self.id, command_line, process, runtime=runtime.binary, runtime_root=runtime.root, within=files
            ) as running:
                running.start(stdout)
                code = running.wait(stderr, self._limit(timeout))
            texts = []
            for file in (stdout, stderr):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return ExecResult(code, *texts)

    def wait_for_output(self, pattern: str | re.Pattern[str], timeout: float | None = None) -> re.Match[str]:
        """Wait until its output so far matches the regular expression ``pattern``, and return the match.

        stdout is searched, then stderr. Fails the test (``AssertionError``) at once if the plugin exits without a
        match, and after ``timeout`` seconds; the message has its state and its last output.
        """
        __tracebackhide__ = True
        expression, limit = re.compile(pattern), self._limit(timeout)
        deadline = time.monotonic() + limit
        while True:
            # Before the search, so that output that arrives during it is not missed.
            version, more = self._output.state()
            match = expression.search(self.stdout) or expression.search(self.stderr)
            if match:
                return match
            if not more:
                with contextlib.suppress(PluginExecError):
                    self.wait(max(0.0, deadline - time.monotonic()))
                raise AssertionError(
                    f"plugin {self.id} exited without printing {expression.pattern!r}\n{self.report()}"
                )
            if not self._output.wait_for_change(version, max(0.0, deadline - time.monotonic())):
                raise AssertionError(
                    f"plugin {self.id} has not printed {expression.pattern!r} in {limit:g} s\n{self.report()}"
                )

    def report(self) -> str:
        """Return its state and its last output, for people."""
        return f"{self._state()}\n{self._output.tail()}"

    def _check_running(self, operation: str) -> None:
        if not self.is_running():
            raise FailedPrecondition("it is not running", operation=operation, id=self.id)
        if is_paused(cgroup_of(self.pid, self._spec)):
            raise FailedPrecondition("it is paused", operation=operation, id=self.id, hint="unpause it first")

    def _state(self) -> str:
        if self.is_running():
            return f"running (pid {self.pid})"
        status = self.exit_status
        if status is None:
            return f"not running, exit code unknown (pid {self.pid})"
        code = "an unknown code" if status.exit_code is None else f"code {status.exit_code}"
        return f"exited with {code}" + (", out of memory" if status.oom_killed else "") + f" (pid {self.pid})"

    def _remember(self, status: ExitStatus) -> ExitStatus:
        if status.pid == self.pid:  # otherwise its id has been created again
            self._status = status
        return status

    def _limit(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout
