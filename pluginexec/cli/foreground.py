"""What a command in the foreground shares with its plugin: the terminal's signals, and the standard streams."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from pluginexec.errors import PluginExecError

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_END = 0
"""No signal has this number."""
_PATIENCE = 3
"""docker's: the third signal ends a plugin that ignores them."""


class Signals:
    """Takes SIGINT, SIGTERM and SIGHUP while it is entered.

    Outside ``forwarded`` they end the command as SIGINT does by default, through its clean-up, with 128+n.
    """

    def __init__(self) -> None:
        # Python runs a handler in the main thread, between two of its steps: a signal that comes just before that
        # thread waits is not seen until the wait is over. So the kernel's own handler writes each to this pipe.
        self._pending, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._forwarding = False
        self._before: dict[int, object] = {}
        self._wakeup_before = -1

    def __enter__(self) -> Signals:
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        for number in _FORWARDED:
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type] # what signal() itself returned
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wakeup)
        os.close(self._pending)

    @contextmanager
    def forwarded(self, send: Callable[[int], None]) -> Iterator[Callable[[], None]]:
        """Send on what comes; what comes before the yielded function was called is kept until then."""
        started = threading.Event()
        thread = threading.Thread(target=self._forward, args=(send, started), name="pluginexec-signals", daemon=True)
        self._forwarding = True
        thread.start()
        try:
            yield started.set
        finally:
            # Signals are still taken, and go nowhere: the clean-up that follows has bounds of its own.
            os.write(self._wakeup, bytes([_END]))
            started.set()
            thread.join()

    def reader_is_gone(self) -> None:
        """Have SIGPIPE forwarded: the plugin writes to a pipe of its shim, and would never learn it from the kernel."""
        os.write(self._wakeup, bytes([signal.SIGPIPE]))

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._forwarding:
            raise SystemExit(128 + number)

    def _forward(self, send: Callable[[int], None], started: threading.Event) -> None:
        started.wait()
        count = 0
        while (number := os.read(self._pending, 1)[0]) != _END:
            # The init process of a container ignores a signal that it has no handler for, SIGPIPE too.
            count += _PATIENCE if number == signal.SIGPIPE else number in _FORWARDED
            if number in (*_FORWARDED, signal.SIGPIPE):
                with suppress(PluginExecError):  # it has ended, or containerd is away
                    send(signal.SIGKILL if count >= _PATIENCE else number)


class StandardStream:
    """A writer to one of our own standard streams, which stays open when the plugin's ends.

    When nobody reads any more, ``when_broken`` is called, once, and what comes is discarded.
    """

    def __init__(self, descriptor: int, when_broken: Callable[[], None] = lambda: None) -> None:
        self._descriptor = descriptor
        self._when_broken = when_broken
        self.is_broken = False

    def write(self, data: bytes, /) -> int:
        """Write, and wait where the stream is non-blocking."""
        if self.is_broken:
            return len(data)
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Whoever shares the terminal with us may have made it so.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return os.write(self._descriptor, data[: select.PIPE_BUF])
        except BrokenPipeError:
            self.is_broken = True
            self._when_broken()
            return len(data)

    def close(self) -> None:
        """Leave it open."""


def write_all(stream: StandardStream, data: bytes) -> None:
    """Write all of ``data``; what nobody reads any more is discarded."""
    while data:
        data = data[stream.write(data) :]
