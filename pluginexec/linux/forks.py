"""What a forked child of this process must leave alone: the objects of its parent, and its locks.

A child has copies of all objects and descriptors, but none of the threads. If it unwinds the parent's ``with`` blocks,
as ``sys.exit`` and a failed test do, nothing there may end, remove or release what the parent still uses.
"""

from __future__ import annotations

import os

from pluginexec.errors import FailedPrecondition


class Maker:
    """The process that made an object."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def is_this_process(self) -> bool:
        """Return whether this is the process that made it, and not one forked from that."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ``FailedPrecondition`` in another process than the one that made it."""
        if not self.is_this_process():
            raise FailedPrecondition(
                f"it belongs to process {self._pid}, from which this one was forked",
                hint="make an object of its own in each process",
            )
