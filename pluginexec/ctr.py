"""Run one ``ctr`` command: argv, environment, timeout, stderr to error. The one place that starts processes.

Everything goes through a ``Runner``, so that a test can put a fake in its place, and ``ssh`` one day.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pluginexec.complaints import error_from_complaint
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, PluginExecError, Unavailable

CONNECT_TIMEOUT = 2.0
"""Seconds that ``ctr`` may try to reach containerd's socket; ctr's own default is 10."""

# ctr reads CONTAINERD_ADDRESS and its like as defaults of flags; SOURCE_DATE_EPOCH makes it invent times.
_SCRUBBED = "SOURCE_DATE_EPOCH"
_SCRUBBED_PREFIX = "CONTAINERD_"
# Without it, 1.7 and later print a deprecation warning on the stderr of every command.
_QUIET = {"CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS": "1"}
# Why a command could not be started that may well start later.
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Completed:
    """What a command that ended left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Runner(Protocol):
    """How commands are started."""

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run ``argv`` to its end; after ``timeout`` seconds end it and raise ``DeadlineExceeded``."""

    def start(self, argv: Sequence[str], *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        """Start ``argv`` in the background, its output in pipes: stderr in one of its own, or behind stdout's."""


class Subprocesses:
    """Start commands on this machine, each in a session of its own, with ``/dev/null`` as stdin."""

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run ``argv`` to its end; after ``timeout`` seconds kill its whole process group."""
        with _start(argv, stderr=subprocess.PIPE) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                kill_group(process)
                # Not communicate(): a grandchild that left the group may hold the pipes for ever.
                raise DeadlineExceeded(
                    f"{_name(argv)} gave no answer within {timeout:g} s",
                    argv=argv,
                    hint="containerd or a shim may hang; see containerd's log",
                ) from None
            except BaseException:
                kill_group(process)
                raise
        return Completed(
            tuple(argv), process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace")
        )

    def start(self, argv: Sequence[str], *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        """Start ``argv`` so that the kernel kills it when the thread that calls this ends, however it ends."""
        # ctr does not notice that its reader is gone before it next writes. setpriv execs ctr, so no process is added.
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        return _start([*prefix, *argv], stderr=subprocess.PIPE if separate_stderr else subprocess.STDOUT)


def _start(argv: Sequence[str], stderr: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=clean_environment(),
            start_new_session=True,
        )
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise Unavailable(f"cannot start {argv[0]!r}: {error.strerror}", argv=argv) from error
        raise FailedPrecondition(
            f"cannot run {argv[0]!r}: {error.strerror}",
            argv=argv,
            hint=f"install it (Debian: apt-get install containerd runc), or name another {_name(argv)}",
        ) from error
    except ValueError as error:
        raise FailedPrecondition(f"cannot run {argv[0]!r}: {error}", argv=argv) from error


def _name(argv: Sequence[str]) -> str:
    return os.path.basename(argv[0]) or repr(argv[0])


def clean_environment() -> dict[str, str]:
    """Return our environment without what would change the meaning of a ``ctr`` command."""
    kept = {k: v for k, v in os.environ.items() if k != _SCRUBBED and not k.startswith(_SCRUBBED_PREFIX)}
    return kept | _QUIET


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the process group that ``process`` leads, and reap it; its pipes stay open."""
    # Not poll(): that reaps a leader that ended, and then its group, which may go on, could no longer be named safely.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    """Close our ends of the pipes to ``process``."""
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


@dataclass(frozen=True)
class Ctr:
    """``ctr`` for one address and one namespace.

    ``timeout`` is in seconds and bounds each command that does not name a bound of its own.
    """

    runner: Runner
    binary: str
    address: str
    namespace: str
    timeout: float

    def argv(self, *arguments: str) -> list[str]:
        """Return the whole command line; flags must stand before ``--`` and ids after."""
        # Both flags, always: they override the environment's. --connect-timeout, because --timeout does not bound
        # the dial in 1.6 and 1.7.
        return [
            self.binary,
            "--address",
            self.address,
            "--connect-timeout",
            f"{CONNECT_TIMEOUT:g}s",
            "--namespace",
            self.namespace,
            *arguments,
        ]

    def run(self, *arguments: str, operation: str, id: str | None = None, timeout: float | None = None) -> Completed:
        """Run one command; raise what its stderr says, with ``operation`` and ``id`` in the error."""
        return run_command(self.runner, self.argv(*arguments), timeout or self.timeout, operation=operation, id=id)

    def start(self, *arguments: str, separate_stderr: bool = False) -> subprocess.Popen[bytes]:
        """Start one command in the background; the thread that calls this must outlive it."""
        return self.runner.start(self.argv(*arguments), separate_stderr=separate_stderr)


def run_command(
    runner: Runner, argv: Sequence[str], timeout: float, *, operation: str, id: str | None = None
) -> Completed:
    """Run ``argv`` and return what it left; any failure carries ``operation`` and ``id``."""
    try:
        completed = runner.run(argv, timeout)
    except PluginExecError as error:
        error.operation, error.id = operation, id
        raise
    if completed.returncode:
        raise error_from_complaint(
            completed.stderr, argv=completed.argv, returncode=completed.returncode, operation=operation, id=id
        )
    return completed
