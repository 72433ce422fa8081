"""Run one ``ctr`` command: argv, environment, timeout, stderr to error. The one place that starts processes.

Everything goes through a ``Runner``, so that a test can put a fake in its place, and ``ssh`` one day.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import math
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeAlias, TypeVar

from pluginexec.containerd.error_messages import error_from_stderr
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, PluginExecError, Unavailable, Unknown
from pluginexec.linux.forks import spawning

log = logging.getLogger(__name__)

ABSENT_TIMEOUT = 2.0
"""Seconds that ``ctr`` 1.6 and 1.7 may wait for a socket that is not there; later ones do not wait."""
OUTPUT_LIMIT = 16 << 20
"""Bytes of each stream that are kept of one command; a list of 100,000 tasks needs half."""

_SLOW = "allow more by 'pluginexec --timeout' or Remote(timeout=); or containerd or a shim hangs: see containerd's log"
_CHUNK = 1 << 16
_PROGRAM_SIZE = 4 << 20
"""Bytes of a program that are searched: busybox has 2 MB."""
# ctr reads CONTAINERD_ADDRESS and its like as defaults of flags; SOURCE_DATE_EPOCH makes it invent times.
_SCRUBBED = "SOURCE_DATE_EPOCH"
_SCRUBBED_PREFIX = "CONTAINERD_"
# Without it, 1.7 and later print a deprecation warning on the stderr of every command.
_QUIET = {"CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS": "1"}
# Why a command could not be started that may well start later; the last: it is being written at this moment.
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY)

_WATCH_EVERY = 0.002

T = TypeVar("T")
Watch: TypeAlias = Callable[[], bool] | None
"""What looks for something that a command does while it runs, and returns whether it has found that."""


@dataclass(frozen=True)
class Completed:
    """What a command that ended left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Runner(Protocol):
    """How commands are started."""

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        """Run ``argv`` to its end; after ``timeout`` seconds end it and raise ``DeadlineExceeded``.

        ``watch`` is called again and again in the meantime, until it returns ``True``.
        """

    def start(self, argv: Sequence[str], *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        """Start ``argv`` in the background, its output in pipes: stderr in one of its own, or behind stdout's."""


class Subprocesses:
    """Start commands on this machine, each in a session of its own, with ``/dev/null`` as stdin."""

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        """Run ``argv`` to its end; after ``timeout`` seconds kill its whole process group."""
        return finish(_start(argv, stderr=subprocess.PIPE), argv, timeout, watch)

    def start(self, argv: Sequence[str], *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        """Start ``argv`` so that the kernel kills it when the thread that calls this ends, however it ends."""
        # setpriv starts first, and would only print that there is no such command.
        if "\0" not in argv[0] and shutil.which(argv[0]) is None:
            raise _cannot_run(argv, "it is not there, or not executable")
        return _start([*_mortal(), *argv], stderr=subprocess.PIPE if separate_stderr else subprocess.STDOUT)


@functools.cache
def _mortal() -> tuple[str, ...]:
    """Return what to put before a command so that it dies with the thread that started it; nothing where that fails.

    ctr does not notice that its reader is gone before it next writes. setpriv execs ctr, so no process is added.
    """
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv and _names_its_option(setpriv) else ()


def _names_its_option(setpriv: str) -> bool:
    """Return whether a setpriv knows the option: busybox's does not. To try it would take each command a process."""
    with contextlib.suppress(OSError), open(setpriv, "rb") as program:
        return b"pdeathsig" in program.read(_PROGRAM_SIZE)
    return False


def finish(process: subprocess.Popen[bytes], argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
    """Return what ``process`` leaves at its end; after ``timeout`` seconds, or too much output, kill its group."""
    with process:
        try:
            stdout, stderr = _collect(process, argv, timeout, watch)
        except subprocess.TimeoutExpired:
            kill_group(process)
            # The pipes are closed, not read to their end: a grandchild that left the group may hold them for ever.
            raise DeadlineExceeded(
                f"{_name(argv)} gave no answer within {timeout:g} s",
                argv=argv,
                hint=_SLOW,
            ) from None
        except BaseException:
            kill_group(process)
            raise
    return Completed(tuple(argv), process.returncode, stdout, stderr)


def _collect(process: subprocess.Popen[bytes], argv: Sequence[str], timeout: float, watch: Watch) -> tuple[str, str]:
    """Read both streams to their end and wait for that of ``process``; ``Unknown`` if it never stops talking."""
    deadline = time.monotonic() + timeout
    streams = [(pipe, bytearray()) for pipe in (process.stdout, process.stderr)]
    with selectors.PollSelector() as selector:
        for pipe, kept in streams:
            if pipe:
                selector.register(pipe, selectors.EVENT_READ, kept)
        while selector.get_map():
            # Asked each time: one that talks on and on is never waited for.
            if (left := deadline - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired(list(argv), timeout)
            if watch and watch():
                watch = None
            for key, _ in selector.select(min(left, _WATCH_EVERY) if watch else left):
                data = os.read(key.fd, _CHUNK)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
                if len(key.data) > OUTPUT_LIMIT:
                    raise Unknown(f"{_name(argv)} printed more than {OUTPUT_LIMIT} bytes and was ended", argv=argv)
    process.wait(max(0.0, deadline - time.monotonic()))
    stdout, stderr = (kept.decode(errors="replace") for _, kept in streams)
    return stdout, stderr


def _start(argv: Sequence[str], stderr: int) -> subprocess.Popen[bytes]:
    try:
        return _popen(argv, stderr)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise Unavailable(f"cannot start {argv[0]!r}: {error.strerror}", argv=argv) from error
        raise _cannot_run(argv, error.strerror or str(error)) from error
    except ValueError as error:
        raise _cannot_run(argv, str(error)) from error


def _popen(argv: Sequence[str], stderr: int) -> subprocess.Popen[bytes]:
    # With pipes of our own: Python 3.10's Popen forgets those that it has made when it runs out of descriptors.
    with spawning, contextlib.ExitStack() as ours, contextlib.ExitStack() as its:
        null = its.enter_context(open(os.devnull, "rb"))
        out, its_out = _pipe(ours, its)
        err, its_err = _pipe(ours, its) if stderr == subprocess.PIPE else (None, None)
        process = subprocess.Popen(
            argv,
            stdin=null,
            stdout=its_out,
            stderr=its_err or stderr,
            env=clean_environment(),
            start_new_session=True,
        )
        process.stdout, process.stderr = out, err
        ours.pop_all()
    return process


def _pipe(ours: contextlib.ExitStack, its: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    source, sink = os.pipe()
    return ours.enter_context(open(source, "rb")), its.enter_context(open(sink, "wb", buffering=0))


def _cannot_run(argv: Sequence[str], why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"cannot run {argv[0]!r}: {why}",
        argv=argv,
        hint=f"install it (Debian: apt-get install containerd runc), or name another {_name(argv)}",
    )


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

    @property
    def target(self) -> list[str]:
        """The flags that name containerd and the namespace; they are in each command line, one after the other."""
        # Both, always: they override the environment's.
        return ["--address", self.address, "--namespace", self.namespace]

    def argv(self, *arguments: str, timeout: float | None = None) -> list[str]:
        """Return the whole command line; flags must stand before ``--`` and ids after.

        ``timeout``: the seconds that the command may take, if not ``self.timeout``.
        """
        # --connect-timeout, because --timeout does not bound the dial in 1.6 and 1.7. A containerd that is there but
        # busy may take long to accept, so its handshake has the time of the whole command; ctr's own default is 10 s.
        limit = timeout or self.timeout
        dial = limit if os.path.exists(self.address) else min(limit, ABSENT_TIMEOUT)
        return [self.binary, "--connect-timeout", f"{math.ceil(dial)}s", *self.target, *arguments]

    def run(
        self, *arguments: str, operation: str, id: str | None = None, timeout: float | None = None, watch: Watch = None
    ) -> Completed:
        """Run one command; raise what its stderr says, with ``operation`` and ``id`` in the error."""
        limit = timeout or self.timeout
        argv = self.argv(*arguments, timeout=limit)
        return run_command(self.runner, argv, limit, operation=operation, id=id, watch=watch)

    def start(self, *arguments: str, separate_stderr: bool = False) -> subprocess.Popen[bytes]:
        """Start one command in the background; the thread that calls this must outlive it."""
        argv = self.argv(*arguments)
        process = self.runner.start(argv, separate_stderr=separate_stderr)
        log.debug("%s: started in the background (pid %d)", _Line(argv), process.pid)
        return process

    def finish(self, process: subprocess.Popen[bytes], *arguments: str, operation: str) -> Completed:
        """Wait for the end of one that was started, stderr apart; raise as ``run`` does."""
        argv = self.argv(*arguments)
        return _logged(argv, lambda: _check(lambda: finish(process, argv, self.timeout), operation=operation))


def run_command(
    runner: Runner, argv: Sequence[str], timeout: float, *, operation: str, id: str | None = None, watch: Watch = None
) -> Completed:
    """Run ``argv`` and return what it left; any failure carries ``operation`` and ``id``."""
    return _logged(argv, lambda: _check(lambda: runner.run(argv, timeout, watch), operation=operation, id=id))


class _Line:
    """A command line that can be pasted into a shell; it is made only if it is logged."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv

    def __str__(self) -> str:
        return shlex.join(map(str, self._argv))


def _logged(argv: Sequence[str], run: Callable[[], Completed]) -> Completed:
    """Run a command, and log at DEBUG its line, its result and its duration."""
    begun = time.monotonic()
    try:
        completed = run()
    except PluginExecError as error:
        status = "no exit status" if error.returncode is None else f"exit status {error.returncode}"
        log.debug("%s: %s in %.0f ms: %s", _Line(argv), status, 1000 * (time.monotonic() - begun), error.message)
        raise
    log.debug("%s: exit status 0 in %.0f ms", _Line(argv), 1000 * (time.monotonic() - begun))
    return completed


def _check(run: Callable[[], Completed], *, operation: str, id: str | None = None) -> Completed:
    try:
        completed = run()
    except PluginExecError as error:
        error.operation, error.id = operation, id
        raise
    if completed.returncode:
        raise error_from_stderr(
            completed.stderr, argv=completed.argv, returncode=completed.returncode, operation=operation, id=id
        )
    return completed


def uninterrupted(work: Callable[[], T]) -> T:
    """Return what ``work`` returns; an interrupt is raised after its end, a second one at once, and ``work`` goes on.

    Interrupts come to the main thread, so ``work`` gets another one.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    outcome: Future[T] = Future()
    thread = threading.Thread(target=_work, args=(work, outcome), name="pluginexec-uninterrupted", daemon=True)
    try:
        thread.start()
        wait([outcome])
    except RuntimeError:  # out of threads
        return work()
    except BaseException:
        wait([outcome])
        raise
    return outcome.result()


def _work(work: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:
        outcome.set_exception(error)
