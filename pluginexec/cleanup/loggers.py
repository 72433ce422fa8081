"""End loggers that were left behind: their task is deleted, and yet they do not end.

A logger blocks for ever where a process holds the plugin's pipe open from outside its pid namespace, and where nobody
reads its FIFO any more. The shim kills the shell after a while, but not what copies for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from pluginexec.root import PluginFiles

log = logging.getLogger(__name__)

LOGGER_TIMEOUT = 12.0
"""Seconds that a shim waits for its logger when the task is deleted, before it kills the shell."""

# Where the logger's script has the mark; see there.
_MARK_DESCRIPTOR = 5
_ROUNDS = 10
_PAUSE = 0.01


def end_loggers(files: PluginFiles) -> None:
    """SIGKILL all loggers of this id; only for one whose task is deleted, and while nobody else may create it anew.

    It looks at every process of the machine, which takes some milliseconds.
    """
    # More than once: a shell that is killed after its cat may have started another in between.
    for _ in range(_ROUNDS):
        if not _end_loggers(files):
            return
        time.sleep(_PAUSE)


def _end_loggers(files: PluginFiles) -> bool:
    mark = os.path.realpath(files.config)
    found = False
    for pid in _pids():
        with contextlib.suppress(OSError), _held(pid) as pidfd:
            if _is_logger(pid, files.id, mark):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                log.info("a logger of %s was left behind and is ended (pid %d)", files.id, pid)
                found = True
    return found


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int]:
    # Before anything is read about it: what we look at and what we end is then one process.
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _is_logger(pid: int, id: str, mark: str) -> bool:
    # The mark alone would do for a process that we did not start; a fork of ours may have been made while we read it.
    held = os.readlink(f"/proc/{pid}/fd/{_MARK_DESCRIPTOR}").removesuffix(" (deleted)")
    return held == mark and f"CONTAINER_ID={id}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
