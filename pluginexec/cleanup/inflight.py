"""The commands that an executor had started when it was killed: they go on without it.

A ``ctr run`` may make its container only after we have looked and found none; a deletion may meet the next container
of its id. So an operation on an id first waits for their end. They are left alone: a deletion that is cut short leaks
its shim.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence

import psutil

from pluginexec.errors import DeadlineExceeded
from pluginexec.linux.identity import is_ours

log = logging.getLogger(__name__)

IN_FLIGHT_TIMEOUT = 60.0
"""Seconds that such a command is waited for; that long a deletion may take."""
_PAUSE = 0.01
# The first words, after the flags of the client, of each command that changes what there is of an id. The id is last.
_COMMANDS = (["run", "--detach"], ["tasks", "rm"], ["containers", "rm"], ["delete", "--force"])


class InFlightCommands:
    """What is found once; an executor does so when the root is ours and we have started nothing yet.

    ``flags``: with which words the arguments of the commands begin.
    """

    def __init__(self, *flags: Sequence[str]) -> None:
        self._commands: dict[str, list[psutil.Process]] = defaultdict(list)
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
            except psutil.Error:
                continue
            for prefix in flags:
                # Not by its program: ctr may be a script.
                if (arguments := _after(prefix, line)) and is_ours(process.pid):
                    self._commands[arguments[-1]].append(process)

    def ids(self) -> set[str]:
        """Return the ids that they were at work on when they were found."""
        return set(self._commands)

    def wait(self, id: str) -> None:
        """Wait until no such command is at work on an id; ``DeadlineExceeded`` after ``IN_FLIGHT_TIMEOUT`` seconds."""
        deadline = time.monotonic() + IN_FLIGHT_TIMEOUT
        for process in self._commands.get(id, ()):
            if _is_at_work(process):
                log.info("a command of an executor that was killed is at work on %s (pid %d)", id, process.pid)
            while _is_at_work(process):
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(
                        f"a command of an executor that was killed is still at work on it (pid {process.pid})",
                        hint="containerd or a shim may hang; see containerd's log",
                    )
                time.sleep(_PAUSE)
        self._commands.pop(id, None)


def _after(flags: Sequence[str], line: list[str]) -> list[str]:
    """Return what follows the flags, where the line is of a command that matters."""
    # Not at a fixed place: ctr may be a script, whose line begins with its interpreter.
    start = line.index(flags[0]) if flags[0] in line else len(line)
    end = start + len(flags)
    return line[end:] if line[start:end] == list(flags) and line[end : end + 2] in _COMMANDS else []


def _is_at_work(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
