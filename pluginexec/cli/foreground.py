"""Foreground commands: forward signals to the plugin, and write its output to the standard streams."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from pluginexec.cli.errors import OWN_ERROR
from pluginexec.cli.output import unwritable
from pluginexec.errors import PluginExecError

# Not those that mean this process alone: what the kernel sends for its own faults, children, pipes and terminal.
_OWN = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
}
FORWARDED = tuple(sorted(map(int, signal.valid_signals() - _OWN)))
"""All that docker forwards."""
_HARMLESS = (signal.SIGWINCH, signal.SIGCONT)
"""Without a handler these end no process."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The third of these kills."""
_END = 0
"""Ends the forwarding thread; no signal has this number."""
_PATIENCE = 3
"""As in docker, the third signal kills a plugin that ignores them."""


_NAMES = {1: "stdout", 2: "stderr"}

log = logging.getLogger(__name__)


class Signals:
    """Handles the signals that docker forwards while it is entered.

    Outside ``forwarded``, one whose default is to end a process ends the command with 128+n, after its clean-up.
    """

    def __init__(self) -> None:
        # Python runs handlers in the main thread, between two bytecodes: one for a signal that arrives just before a
        # blocking call runs only after it. So Python's C-level handler writes each number to this pipe at once.
        self._pending, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._forwarding = False
        self._before: dict[int, object] = {}
        self._wakeup_before = -1

    def __enter__(self) -> Signals:
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        for number in FORWARDED:
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type] # what signal() itself returned
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wakeup)
        os.close(self._pending)

    @contextmanager
    def forwarded(self, send: Callable[[int], None]) -> Iterator[Callable[[], None]]:
        """Forward signals; those that arrive before the yielded function is called are held until then."""
        started = threading.Event()
        thread = threading.Thread(target=self._forward, args=(send, started), name="pluginexec-signals", daemon=True)
        self._forwarding = True
        thread.start()
        try:
            yield started.set
        finally:
            # Signals are still handled, but ignored: the clean-up that follows has its own time limits.
            os.write(self._wakeup, bytes([_END]))
            started.set()
            thread.join()

    def reader_is_gone(self) -> None:
        """Forward SIGPIPE: the plugin writes to a pipe of its shim, so the kernel never sends it one."""
        os.write(self._wakeup, bytes([signal.SIGPIPE]))

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._forwarding and number not in _HARMLESS:
            raise SystemExit(128 + number)

    def _forward(self, send: Callable[[int], None], started: threading.Event) -> None:
        started.wait()
        count = 0
        while (number := os.read(self._pending, 1)[0]) != _END:
            # The init process of a container ignores signals without a handler, including SIGPIPE.
            count += _PATIENCE if number == signal.SIGPIPE else number in _ENDING
            if number in FORWARDED or number == signal.SIGPIPE:
                with suppress(PluginExecError):  # it has exited, or containerd does not answer
                    send(signal.SIGKILL if count >= _PATIENCE else number)


class StandardStream:
    """A writer to a standard stream of this process, which stays open when the plugin's stream ends.

    If the reader closes the pipe, ``when_broken`` is called once, and further output is discarded. It is discarded as
    well after any other error, such as that of a full disk, which is logged.
    """

    def __init__(self, descriptor: int, when_broken: Callable[[], None] = lambda: None) -> None:
        self._descriptor = descriptor
        self._when_broken = when_broken
        self.is_broken = False
        self.has_failed = False

    def write(self, data: bytes, /) -> int:
        """Write, and wait if the stream is non-blocking and full."""
        if self.is_broken or self.has_failed:
            return len(data)
        try:
            return self._write(data)
        except BrokenPipeError:
            self.is_broken = True
            self._when_broken()
        except OSError as error:
            self.has_failed = True
            log.error("%s", unwritable(_NAMES[self._descriptor], error))
        return len(data)

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Another process on the same terminal may have made it non-blocking.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return os.write(self._descriptor, data[: select.PIPE_BUF])

    def close(self) -> None:
        """Leave it open."""


def code_after(code: int, *streams: StandardStream) -> int:
    """Return the exit code of a command whose plugin ended with ``code``: no success if its output was not written."""
    return code or (OWN_ERROR if any(stream.has_failed for stream in streams) else 0)


def write_all(stream: StandardStream, data: bytes) -> None:
    """Write all of ``data``; discard it if the reader has closed the pipe."""
    while data:
        data = data[stream.write(data) :]
