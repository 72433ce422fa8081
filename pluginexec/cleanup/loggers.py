"""End loggers that were left behind: their task is deleted, and yet they do not end.

A logger blocks for ever where a process holds the plugin's pipe open from outside its pid namespace, and where its
FIFO has no reader. The shim kills the shell after a while, but not what copies for it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from pluginexec.linux.identity import is_ours, program_name
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.streams.shell_logger import LOGGER_PATH

log = logging.getLogger(__name__)

LOGGER_TIMEOUT = 12.0
"""Seconds that a shim waits for its logger when the task is deleted, before it kills the shell."""

# Where the logger's script has the mark; see there.
_MARK_DESCRIPTOR = 5
_DELETED = " (deleted)"
_PROGRAMS = ("sh", "cat", "dd", "rm", "timeout", "flock", "sleep")
_PYTHONS = ("python", "pypy")
_ROUNDS = 10
_PAUSE = 0.01


def end_loggers(files: PluginFiles) -> None:
    """SIGKILL all loggers of this id; only for one whose task is deleted, and while the id cannot be created again.

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


def find_loggers(bundles: Path) -> Iterator[psutil.Process]:
    """Find the loggers of the bundles below a directory, deleted ones too.

    The processes that copy outlive the shim if what they write is not read, and their working directory is still the
    bundle. The variable comes from the shim; a person's shell in that directory has none.
    """
    prefix = f"{bundles}{os.sep}"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(prefix) and "CONTAINER_ID" in process.environ() and _runs_logger(process.pid):
                yield process


def find_orphaned_loggers(containers: Path) -> Iterator[tuple[int, str]]:
    """Find the pid and the plugin id of each logger whose plugin's files, below ``containers``, are gone.

    While the files exist, a logger may hold the last output of a plugin for its next reader.
    """
    prefix = f"{os.path.realpath(containers)}{os.sep}"
    for pid in _pids():
        with contextlib.suppress(OSError):
            mark = _mark_of(pid)
            is_marked = mark.startswith(prefix) and mark.endswith(_DELETED) and b"CONTAINER_ID=" in _environment(pid)
            if is_marked and _runs_logger(pid):
                yield pid, Path(mark.removesuffix(_DELETED)).parent.name


def _is_logger(pid: int, id: str, mark: str) -> bool:
    # The mark alone would do for a process of another program; a fork of this one may have been made while we read it.
    held = _mark_of(pid).removesuffix(_DELETED)
    is_marked = held == mark and f"CONTAINER_ID={id}".encode() in _environment(pid).split(b"\0")
    return is_marked and _runs_logger(pid)


def _runs_logger(pid: int) -> bool:
    """Return whether a process of this user runs a program that loggers consist of; any process can have the marks."""
    name = program_name(pid)
    return (name in _programs() or name.startswith(_PYTHONS)) and is_ours(pid)


@functools.cache
def _programs() -> frozenset[str]:
    # Under their real names: the shell may be a link to dash, and all of them links to busybox.
    paths = (shutil.which(name, path=LOGGER_PATH) for name in _PROGRAMS)
    return frozenset(os.path.basename(os.path.realpath(path)) for path in paths if path)


def _mark_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/fd/{_MARK_DESCRIPTOR}")


def _environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()
