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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pluginexec.cgroups import cgroups_path_of, is_paused
from pluginexec.complaints import error_from_complaint, invocation_code
from pluginexec.ctr import clean_environment
from pluginexec.errors import FailedPrecondition, NotFound, PluginExecError
from pluginexec.flags.container import absolute_workdir
from pluginexec.flags.environment import changed_environment
from pluginexec.flags.users import find_user
from pluginexec.host.records import Records, is_alive
from pluginexec.root import file_error
from pluginexec.types import Writer

_CHUNK = 1 << 16
_RUNTIME = "runc"
_TERMINAL = "TERM=xterm"
"""docker's, where the plugin has no other."""
_PREFIX = "exec failed: unable to start container process: "


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


class Exec:
    """One command in a running plugin; a context manager, which leaves no process and no file of ours.

    Raises ``NotFound`` and ``InvalidArgument`` as ``Records.resolve``, ``FailedPrecondition`` for a plugin that does
    not run, or is paused.
    """

    def __init__(self, records: Records, reference: str, command: Command) -> None:
        self.id = records.resolve(reference)
        self._command = command
        self._record = records.record(self.id)
        self._records = records
        spec = records.spec(self.id)
        self._content = command.process(spec)
        if not is_alive(records.state(self.id)):
            raise self._failed("it is not running", f"start it with 'pluginexec start {self.id}'")
        if is_paused(cgroups_path_of(spec)):
            raise self._failed("it is paused", f"let it go on with 'pluginexec unpause {self.id}'")
        self._files = contextlib.ExitStack()
        self._directory = Path()
        self._runtime: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Exec:
        own = self._records.directory(self.id)
        try:
            # In the plugin's directory: should we be killed, it goes when that goes.
            directory = tempfile.TemporaryDirectory(prefix="exec-", dir=own, ignore_cleanup_errors=True)
            self._directory = Path(self._files.enter_context(directory))
            (self._directory / "process.json").write_text(json.dumps(self._content), encoding="utf-8")
        except OSError as error:
            self._files.close()
            if isinstance(error, FileNotFoundError):
                raise NotFound("it was removed", operation="exec", id=self.id) from error
            raise file_error(error, f"no file can be made in {str(own)!r}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        runtime = self._runtime
        if runtime:
            if runtime.poll() is None:
                self.send(signal.SIGKILL)
            with runtime:  # closes its stderr, and waits
                pass
        self._files.close()

    def start(self) -> None:
        """Start the runtime, which starts the command."""
        streams = None if self._command.terminal or self._command.interactive else subprocess.DEVNULL
        detach = subprocess.DEVNULL if self._command.detach else None
        argv = self._argv()
        try:
            self._runtime = subprocess.Popen(
                argv,
                stdin=streams,
                stdout=detach,
                stderr=detach or subprocess.PIPE,
                env=clean_environment(),
                # Ctrl-C would reach it twice: from the terminal, and from us. One that has taken over the terminal
                # must stay, to learn of its size.
                start_new_session=not self._command.terminal,
            )
        except OSError as error:
            raise self._failed(f"cannot run {argv[0]!r}: {error.strerror}", "install it, or see its path") from error

    def wait(self, stderr: Writer) -> int:
        """Wait for the end, and return the exit code, 128+n for signal n; with ``detach``, only for the start.

        What the command writes to its stderr goes to ``stderr``: that of the runtime, which has it in its hands, also
        carries the runtime's own complaint. Raises ``InvalidArgument`` where the command cannot be executed.
        """
        assert self._runtime
        if self._runtime.stderr:
            # The runtime writes to its log first, so what comes after that is its own.
            while (data := os.read(self._runtime.stderr.fileno(), _CHUNK)) and self._complaint() is None:
                _write(stderr, data)
        code = self._runtime.wait()
        complaint = self._complaint()
        if complaint is not None:
            raise self._error(complaint, code)
        return code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Send a signal to the command: the runtime passes on all but SIGKILL."""
        assert self._runtime
        if number != signal.SIGKILL:
            self._runtime.send_signal(number)
            return
        import psutil  # not at the top: it takes its time, and is seldom needed

        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._runtime.pid).children()
            for child in children:
                child.kill()
            if not children:  # the command has ended, and something that it has started holds its output open
                self._runtime.kill()

    def _argv(self) -> list[str]:
        root = self._records.root / "runtime-root" / self._record.namespace
        runtime = [self._record.runtime or _RUNTIME, "--root", str(root)]
        log = ["--log", str(self._directory / "log"), "--log-format", "json"]
        detach = ["--detach"] if self._command.detach else []
        return [*runtime, *log, "exec", *detach, "--process", str(self._directory / "process.json"), self.id]

    def _complaint(self) -> str | None:
        """Return the error that the runtime has logged; ``None`` if there is none, or it is not all there yet."""
        with contextlib.suppress(OSError, ValueError):
            for line in (self._directory / "log").read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if entry.get("level") == "error":
                    return str(entry.get("msg"))
        return None

    def _error(self, complaint: str, code: int) -> PluginExecError:
        message = complaint.removeprefix(_PREFIX)
        error = error_from_complaint(message, argv=self._argv(), returncode=code, operation="exec", id=self.id)
        if invocation_code(message):
            error.hint = "give a program of the plugin's root file system"
        elif not is_alive(self._records.state(self.id)):
            return self._failed("it has ended", "see its exit code with 'pluginexec ps -a'")
        return error

    def _failed(self, message: str, hint: str) -> FailedPrecondition:
        return FailedPrecondition(message, operation="exec", id=self.id, hint=hint)


def _write(stream: Writer, data: bytes) -> None:
    while data:
        taken = stream.write(data)
        data = data[len(data) if taken is None else taken :]
