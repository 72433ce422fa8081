"""A progress line on stderr while long work goes on; only on a terminal."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pluginexec.cli.colour import is_capable
from pluginexec.errors import one_line

_DELAY = 0.3
"""Seconds before the line appears."""
_INTERVAL = 0.1
_WIDTH = 80
_FRAMES = "|/-\\"
_ERASE = "\r\x1b[K"

_terminal = threading.RLock()
"""Held while writing to stderr, so that the line and other output do not mix."""


class _Line:
    """The line, redrawn by its own thread from ``start`` until ``end``."""

    def __init__(self, text: str) -> None:
        self._text = one_line(text)
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw_on, name="pluginexec-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Erase the line; after this returns, nothing more is drawn."""
        self._over.set()
        self._thread.join()

    def _draw_on(self) -> None:
        try:
            if self._over.wait(_DELAY):
                return
            while not self._over.is_set():
                with _terminal:
                    _put(f"{_ERASE}{self._now()}")
                self._over.wait(_INTERVAL)
            _put(_ERASE)
        except OSError:
            pass  # the terminal is gone

    def _now(self) -> str:
        seconds = time.monotonic() - self._began
        line = f"{_FRAMES[int(seconds / _INTERVAL) % len(_FRAMES)]} {self._text} ({seconds:.0f} s)"
        # A wrapped line cannot be erased. A serial terminal reports no width.
        return line[: (os.get_terminal_size(2).columns or _WIDTH) - 1]


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show ``text`` and the elapsed seconds while the body runs, which must not print to stdout."""
    if not is_capable(sys.stderr):
        yield
        return
    line = _Line(text)
    try:
        line.start()
    except RuntimeError:  # cannot start a thread: work without the line
        yield
        return
    try:
        yield
    finally:
        line.end()


@contextmanager
def hidden() -> Iterator[None]:
    """Erase the line while the body writes to stderr; its thread redraws it."""
    with _terminal:
        if is_capable(sys.stderr) and any(each.name == "pluginexec-progress" for each in threading.enumerate()):
            _put(_ERASE)
        yield


def _put(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
