"""What a test may leave behind, and how it is found.

A thread is a leak if it was started in the test and is still alive a moment after the last fixture of the test has
ended. Workers of thread pools and threads that run code of an installed package are not: they may serve other tests, or
other plugins of pytest.
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
from pluginexec.cleanup.shims import find_shims
from pluginexec.linux.trees import files_below

GRACE = 1.0
"""Seconds that something which has just been asked to end may take."""
_POLL = 0.01
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})
_PACKAGE = str(Path(pluginexec.__file__).parent)
_T = TypeVar("_T")


def remaining(find: Callable[[], _T], grace: float = GRACE) -> _T:
    """Return what ``find`` still returns after ``grace`` seconds; an empty result is returned at once."""
    deadline = time.monotonic() + grace
    while (result := find()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return result


def shims_of(address: str, prefix: str) -> dict[psutil.Process, tuple[str, str]]:
    """Return the shims of a containerd in namespaces with this prefix, with the namespace and the id of each."""
    result = {}
    for process in find_shims(address):
        try:
            flags = dict(itertools.pairwise(process.cmdline()))
        except psutil.Error:
            continue
        namespace, id = flags.get("-namespace", ""), flags.get("-id", "")
        if namespace.startswith(prefix):
            result[process] = namespace, id
    return result


def fifos_below(directory: Path) -> list[Path]:
    """Return the FIFOs below a directory."""
    return sorted(path for path in files_below(directory) if path.is_fifo())


def new_threads(before: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Return the running threads that are not in ``before`` and would be a leak."""
    known = set(before)
    return [thread for thread in threading.enumerate() if thread not in known and _is_leak(thread)]


def describe(thread: threading.Thread) -> str:
    """Return the name of a thread, and the line that it is at."""
    frames = _frames(thread)
    where = f", at {frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else ""
    return f"thread {thread.name!r}{where}"


def _is_leak(thread: threading.Thread) -> bool:
    frames = _frames(thread)
    if not frames or isinstance(thread, threading._DummyThread):
        return False  # it is ending, or it was not started by Python, which then never notices its end
    # The outermost frame outside the threading module; there is none if that calls a function in C.
    files = [frame.f_code.co_filename for frame in frames]
    target = next((file for file in files if file != threading.__file__), "")
    return target.startswith(_PACKAGE) or not (target == pools.__file__ or target.startswith(_INSTALLED))


def _frames(thread: threading.Thread) -> list[FrameType]:
    """Return the stack of a thread, outermost frame first."""
    frame = sys._current_frames().get(thread.ident or 0)
    frames = []
    while frame:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]
