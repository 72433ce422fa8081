"""Run a command in a running plugin, by the OCI runtime itself.

Not by ``ctr tasks exec``: that cannot set variables, its exec ids stay taken until each is deleted, one that is killed
leaves a directory with FIFOs for ever, and containerd reports each end as an exit of the task. The runtime needs no id,
and what it starts is the plugin's in all that matters: its namespaces, its cgroup, its end.

What is to run goes to the runtime in a file, not on its command line, which every user of the machine can read.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pluginexec.containerd.ctr import clean_environment
from pluginexec.containerd.error_messages import error_from_stderr
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, NotFound
from pluginexec.linux.files import file_error
from pluginexec.linux.forks import spawning
from pluginexec.linux.poll import wait_readable
from pluginexec.oci.options.container import absolute_workdir
from pluginexec.oci.options.environment import changed_environment
from pluginexec.oci.options.users import find_user
from pluginexec.types import Writer

_CHUNK = 1 << 16
_RUNTIME = "runc"
_TERMINAL = "TERM=xterm"
"""docker's, where the plugin has no other."""


@dataclass(frozen=True)
class Command:
    """What to run in a plugin: all that is not given is as for the plugin's own process.

    ``terminal``: on a terminal of its own, which ours is connected to. ``interactive``: with our stdin, which a
    terminal implies. ``detach``: in the background, with no streams.
    """

    arguments: tuple[str, ...]
    env: tuple[str, ...] = ()
    env_file: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    terminal: bool = False
    interactive: bool = False
    detach: bool = False

    def process(self, spec: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
        """Return the OCI process to run in a plugin of this spec; ``InvalidArgument`` for a bad value."""
        process: dict[str, Any] = copy.deepcopy(spec["process"])
        env = process.get("env") or []
        if self.terminal and not any(entry.startswith("TERM=") for entry in env):
            env = [*env, _TERMINAL]
        process["args"] = list(self.arguments)
        process["env"] = changed_environment(env, self.env, self.env_file, environ)
        process["terminal"] = self.terminal
        if self.terminal:
            # The runtime itself sets it after the command has started, which may have asked by then.
            columns, lines = os.get_terminal_size(0)
            process["consoleSize"] = {"height": lines, "width": columns}
        if self.workdir is not None:
            process["cwd"] = absolute_workdir(self.workdir)
        if self.user is not None:
            process["user"] = {**process.get("user", {}), **find_user(spec["root"]["path"], self.user)}
        return process


class RuntimeExec:
    """One command in a running plugin; a context manager, which leaves neither process nor file behind.

    - ``content``: the OCI process, as ``command`` makes it of the plugin's spec;
    - ``runtime_root``: where the runtime has its state of the plugin;
    - ``within``: a directory for what is to run; should we be killed, it goes when that goes.
    """

    def __init__(
        self,
        id: str,
        command: Command,
        content: dict[str, Any],
        *,
        runtime: str | None,
        runtime_root: Path,
        within: Path,
    ) -> None:
        self.id = id
        self.command = command
        self._content = content
        self._to_runtime = (runtime or _RUNTIME, "--root", str(runtime_root))
        self._within = within
        self._files = contextlib.ExitStack()
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RuntimeExec:
        try:
            directory = tempfile.TemporaryDirectory(prefix="exec-", dir=self._within, ignore_cleanup_errors=True)
            self._directory = Path(self._files.enter_context(directory))
            (self._directory / "process.json").write_text(json.dumps(self._content), encoding="utf-8")
        except OSError as error:
            self._files.close()
            if isinstance(error, FileNotFoundError):
                raise NotFound("it was removed", operation="exec", id=self.id) from error
            raise file_error(error, f"no file can be made in {str(self._within)!r}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self._process
        if process:
            if process.poll() is None:
                self.send(signal.SIGKILL)
            with process:  # closes its stderr, and waits
                pass
        self._files.close()

    def start(self, stdout: IO[bytes] | None = None) -> None:
        """Start the runtime, which starts the command; its stdout goes to ``stdout``, or where ours goes."""
        streams = None if self.command.terminal or self.command.interactive else subprocess.DEVNULL
        detach = subprocess.DEVNULL if self.command.detach else None
        argv = self._argv()
        try:
            with spawning:
                self._process = subprocess.Popen(
                    argv,
                    stdin=streams,
                    stdout=detach or stdout,
                    stderr=detach or subprocess.PIPE,
                    env=clean_environment(),
                    # Ctrl-C would reach it twice: from the terminal, and from us. One that has taken over the terminal
                    # must stay, to learn of its size.
                    start_new_session=not self.command.terminal,
                )
        except OSError as error:
            raise self.failed(f"cannot run {argv[0]!r}: {error.strerror}", "install it, or see its path") from error

    def wait(self, stderr: Writer, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code, 128+n for signal n; with ``detach``, only for the start.

        What the command writes to its stderr goes to ``stderr``: that of the runtime, which has it in its hands, also
        carries the runtime's own message. Raises ``InvalidArgument`` where the command cannot be executed,
        ``DeadlineExceeded`` after ``timeout`` seconds.
        """
        assert self._process
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._process.stderr:
            # The runtime writes to its log first, so what comes after that is its own.
            while (data := self._read(deadline, timeout)) and self._failure() is None:
                _write(stderr, data)
        code = self._process.wait()
        failure = self._failure()
        if failure is not None:
            raise error_from_stderr(failure, argv=self._argv(), returncode=code, operation="exec", id=self.id)
        return code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send a signal to the command: the runtime passes on all but SIGKILL."""
        assert self._process
        if number != signal.SIGKILL:
            self._process.send_signal(number)
            return
        import psutil  # not at the top: it takes its time, and is seldom needed

        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children()
            for child in children:
                child.kill()
            if not children:  # the command has ended, and something that it has started holds its output open
                self._process.kill()

    def failed(self, message: str, hint: str) -> FailedPrecondition:
        """Return the error for a plugin, or a machine, that is in the wrong state for this."""
        return FailedPrecondition(message, operation="exec", id=self.id, hint=hint)

    def _read(self, deadline: float | None, timeout: float | None) -> bytes:
        assert self._process
        assert self._process.stderr
        descriptor = self._process.stderr.fileno()
        if deadline is not None and not wait_readable(deadline - time.monotonic(), descriptor):
            raise DeadlineExceeded(f"it has not ended within {timeout:g} s", operation="exec", id=self.id)
        return os.read(descriptor, _CHUNK)

    def _argv(self) -> list[str]:
        log = ["--log", str(self._directory / "log"), "--log-format", "json"]
        detach = ["--detach"] if self.command.detach else []
        process = str(self._directory / "process.json")
        return [*self._to_runtime, *log, "exec", *detach, "--process", process, self.id]

    def _failure(self) -> str | None:
        """Return the error that the runtime has logged; ``None`` if there is none, or it is not all there yet."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            for line in (self._directory / "log").read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if entry.get("level") == "error":
                    return str(entry.get("msg"))
        return None


def _write(stream: Writer, data: bytes) -> None:
    while data:
        taken = stream.write(data)
        data = data[len(data) if taken is None else taken :]
