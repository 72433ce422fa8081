"""What a plugin has printed so far, as a test reads it while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable

KEPT = 16 << 20
"""How many of the last bytes of each stream are kept: a plugin that prints without end must not fill the memory."""
_SHOWN_LINES = 30
_SHOWN_BYTES = 8192


class Output:
    """The two streams of one plugin, each a writer for a relay."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 2
        self._version = 0
        self.stdout = Stream(self._update)
        self.stderr = Stream(self._update)

    def _update(self, change: Callable[[], None], *, closed: bool) -> None:
        with self._changed:
            change()
            self._open -= closed
            self._version += 1
            self._changed.notify_all()

    def state(self) -> tuple[int, bool]:
        """Return a version that changes with each piece of output, and whether more can come."""
        with self._changed:
            return self._version, self._open > 0

    def wait_for_change(self, version: int, timeout: float) -> bool:
        """Wait until the version is no longer ``version``; return whether it changed within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version != version, timeout)

    def tail(self) -> str:
        """Return the last lines of both streams, for a report."""
        return f"stdout{self.stdout.tail()}\nstderr{self.stderr.tail()}"


class Stream:
    """What one stream has carried."""

    def __init__(self, update: Callable[..., None]) -> None:
        self._update = update
        self._data = bytearray()

    def write(self, data: bytes, /) -> None:
        """Append what was relayed."""
        self._update(lambda: self._append(data), closed=False)

    def close(self) -> None:
        """Record the end of the stream."""
        self._update(lambda: None, closed=True)

    def _append(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > 2 * KEPT:
            del self._data[:-KEPT]

    def text(self) -> str:
        """Return it as text; bytes that are not UTF-8 become U+FFFD."""
        return bytes(self._data[-KEPT:]).decode(errors="replace")

    def tail(self) -> str:
        """Return the last lines, preceded by the rest of their heading."""
        lines = bytes(self._data[-_SHOWN_BYTES:]).decode(errors="replace").splitlines()[-_SHOWN_LINES:]
        if not lines:
            return ": nothing"
        more = len(self._data) > sum(len(line) + 1 for line in lines)
        return "\n".join([", the last lines:" if more else ":", *lines])
