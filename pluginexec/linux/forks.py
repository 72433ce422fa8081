"""What a forked child of this process must leave alone: the objects of its parent, and the commands it starts.

A child has copies of all objects and descriptors, but none of the threads. If it unwinds the parent's ``with`` blocks,
as ``sys.exit`` and a failed test do, nothing there may end, remove or release what the parent still uses.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

from pluginexec.errors import FailedPrecondition

_SPAWN_TIMEOUT = 1.0
"""Seconds that a fork waits for a command that is being started; a signal's handler may fork in the middle of one."""


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


class _Spawning:
    """Entered while a command is started: no fork happens meanwhile.

    A fork in the middle of ``Popen`` would keep copies of its pipes, and ``Popen`` waits for their end: for as long as
    the child lives. Commands are started side by side as before; only a fork waits for them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def before_fork(self) -> None:
        self._changed.acquire()
        self._changed.wait_for(lambda: self._count == 0, _SPAWN_TIMEOUT)

    def after_fork_in_parent(self) -> None:
        self._changed.release()

    def after_fork_in_child(self) -> None:
        self._changed, self._count = threading.Condition(), 0


spawning = _Spawning()
os.register_at_fork(
    before=spawning.before_fork,
    after_in_parent=spawning.after_fork_in_parent,
    after_in_child=spawning.after_fork_in_child,
)
