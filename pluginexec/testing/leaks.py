"""What a test may leave behind, and how it is found: for people, a line each.

A thread counts if it was started in the test, and is alive a moment after the last fixture of the test has ended. Not
so a worker of a thread pool, and what runs code of an installed package: those may serve other tests, or other plugins
of pytest.
"""

from __future__ import annotations

import itertools
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import thread as pools
from pathlib import Path
from types import FrameType
from typing import TypeVar

import psutil

import pluginexec
from pluginexec.daemon.cleanup import shims

GRACE = 1.0
"""Seconds that what has just been told to end may take."""
_POLL = 0.01
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})
_OURS = str(Path(pluginexec.__file__).parent)
_T = TypeVar("_T")


def remaining(find: Callable[[], _T], grace: float = GRACE) -> _T:
    """Return what is still found after ``grace`` seconds; what is nothing, or false, as soon as that is found."""
    deadline = time.monotonic() + grace
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return found


def shims_of(address: str, namespaces: str) -> dict[psutil.Process, tuple[str, str]]:
    """Return the shims of a containerd in namespaces that begin so, with the namespace and the id of each."""
    found = {}
    for process in shims(address):
        try:
            flags = dict(itertools.pairwise(process.cmdline()))
        except psutil.Error:
            continue
        place = flags.get("-namespace", ""), flags.get("-id", "")
        if place[0].startswith(namespaces):
            found[process] = place
    return found


def fifos_below(directory: Path) -> list[Path]:
    """Return the FIFOs below a directory."""
    return sorted(path for path in directory.rglob("*") if path.is_fifo())


def threads_beyond(before: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that run, were not there before, and count."""
    known = set(before)
    return [thread for thread in threading.enumerate() if thread not in known and _counts(thread)]


def described(thread: threading.Thread) -> str:
    """Return the name of a thread, and where it is."""
    frames = _frames(thread)
    where = f", at {frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else ""
    return f"thread {thread.name!r}{where}"


def _counts(thread: threading.Thread) -> bool:
    frames = _frames(thread)
    if not frames or isinstance(thread, threading._DummyThread):
        return False  # it ends at this moment, or was not made by Python, which then never learns of its end
    # The outermost frame that is not the machinery of threads; there is none where that calls something in C.
    files = [frame.f_code.co_filename for frame in frames]
    target = next((file for file in files if file != threading.__file__), "")
    return target.startswith(_OURS) or not (target == pools.__file__ or target.startswith(_INSTALLED))


def _frames(thread: threading.Thread) -> list[FrameType]:
    """Return the stack of a thread, the outermost frame first."""
    frame = sys._current_frames().get(thread.ident or 0)
    found = []
    while frame:
        found.append(frame)
        frame = frame.f_back
    return found[::-1]
