"""What a command in the foreground shares with its plugin: the terminal's signals, and the standard streams."""

from __future__ import annotations

import os
import queue
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from pluginexec.errors import PluginExecError

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 3
"""docker's: the third signal ends a plugin that ignores them."""


class Signals:
    """Takes SIGINT, SIGTERM and SIGHUP while it is entered.

    Outside ``forwarded`` they end the command as SIGINT does by default, through its clean-up, with 128+n.
    """

    def __init__(self) -> None:
        self._pending: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._forwarding = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        for number in _FORWARDED:
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type] # what signal() itself returned

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
            self._pending.put(None)
            started.set()
            thread.join()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._forwarding:
            raise SystemExit(128 + number)
        # Of all queues, this one's put may be called by a signal handler.
        self._pending.put(number)

    def _forward(self, send: Callable[[int], None], started: threading.Event) -> None:
        started.wait()
        count = 0
        while (number := self._pending.get()) is not None:
            count += 1
            with suppress(PluginExecError):  # it has ended, or containerd is away
                send(signal.SIGKILL if count >= _PATIENCE else number)


class StandardStream:
    """A writer to one of our own standard streams, which stays open when the plugin's ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._broken = False

    def write(self, data: bytes, /) -> int:
        """Write, and wait where the stream is non-blocking; when nobody reads any more, discard."""
        if self._broken:
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
            self._broken = True
            return len(data)

    def close(self) -> None:
        """Leave it open."""
