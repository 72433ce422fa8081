"""What a plugin has printed, as a test sees it while more comes."""

from __future__ import annotations

import threading
from collections.abc import Callable

KEPT = 16 << 20
"""Bytes of each stream that are kept, the last ones; more would be a plugin that has run wild."""
_SHOWN_LINES = 30
_SHOWN_BYTES = 8192


class Output:
    """The two streams of one plugin, each a writer for its relay."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 2
        self._steps = 0
        self.stdout = Stream(self._note)
        self.stderr = Stream(self._note)

    def _note(self, change: Callable[[], None], *, closed: bool) -> None:
        with self._changed:
            change()
            self._open -= closed
            self._steps += 1
            self._changed.notify_all()

    def look(self) -> tuple[int, bool]:
        """Return a number that changes with each piece of output, and whether more can come."""
        with self._changed:
            return self._steps, self._open > 0

    def wait_for_more(self, seen: int, timeout: float) -> bool:
        """Wait until the number is another than ``seen``; tell whether that came within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._steps != seen, timeout)

    def ends(self) -> str:
        """Return the last lines of both streams, for people."""
        return f"stdout{self.stdout.end()}\nstderr{self.stderr.end()}"


class Stream:
    """What came of one stream."""

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note
        self._data = bytearray()

    def write(self, data: bytes, /) -> None:
        """Take what was relayed."""
        self._note(lambda: self._keep(data), closed=False)

    def close(self) -> None:
        """Take the end."""
        self._note(lambda: None, closed=True)

    def _keep(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > 2 * KEPT:
            del self._data[:-KEPT]

    def text(self) -> str:
        """Return it as text; bytes that are no UTF-8 show as U+FFFD."""
        return bytes(self._data[-KEPT:]).decode(errors="replace")

    def end(self) -> str:
        """Return the last lines, behind what belongs to their heading."""
        lines = bytes(self._data[-_SHOWN_BYTES:]).decode(errors="replace").splitlines()[-_SHOWN_LINES:]
        if not lines:
            return ": nothing"
        more = len(self._data) > sum(len(line) + 1 for line in lines)
        return "\n".join([", the last lines:" if more else ":", *lines])
