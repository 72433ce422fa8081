"""A pseudo-terminal for tests: what is typed on it, and what it shows."""

from __future__ import annotations

import contextlib
import os
import pty
import struct
import termios
from fcntl import ioctl
from typing import Any

from tests.support.harness import wait_until


class Terminal:
    """A terminal of 33 lines and 77 columns."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(33, 77)
        self.shown = b""

    def resize(self, rows: int, columns: int) -> None:
        """Change its size."""
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def on(self) -> dict[str, Any]:
        """Return how to start a process on it, as a shell would."""
        return {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave, "preexec_fn": self._take}

    def _take(self) -> None:
        os.setsid()
        ioctl(self.slave, termios.TIOCSCTTY, 0)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def shows(self, text: bytes) -> None:
        """Wait until a text is on it."""
        os.set_blocking(self.master, False)

        def read() -> bool:
            with contextlib.suppress(BlockingIOError):
                # runc passes on what comes first before it has made this terminal raw, which then adds a return.
                self.shown = (self.shown + os.read(self.master, 4096)).replace(b"\r\r", b"\r")
            return text in self.shown

        wait_until(read, f"{text!r} on the terminal")

    def close(self) -> None:
        """Take it away."""
        os.close(self.master)
        os.close(self.slave)
