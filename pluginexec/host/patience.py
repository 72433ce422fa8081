"""Waiting on while the state of a plugin cannot be found out for now: its shim hangs, or its containerd is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pluginexec.errors import DeadlineExceeded, Unavailable
from pluginexec.restart_policy import pause_before

log = logging.getLogger(__name__)

_T = TypeVar("_T")
LONGEST_PAUSE = 2.0
"""Seconds between two questions, each of which may take some processes of ``ctr``; the first come sooner."""


class Patience:
    """What is known of one plugin's state that cannot be found out for now; the first such error is logged."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._failures = 0

    def try_again(self, error: Unavailable | DeadlineExceeded) -> float:
        """Take an error that may pass; return the seconds until the next question."""
        if not self._failures:
            log.warning("%s: its state cannot be found out now, waiting: %s", self._id, error)
        pause = pause_before(self._failures, longest=LONGEST_PAUSE)
        self._failures += 1
        return pause


def patiently(id: str, ask: Callable[[], _T]) -> _T:
    """Return what ``ask`` returns; while it raises what may pass, log that once, and ask again."""
    patience = Patience(id)
    while True:
        try:
            return ask()
        except (Unavailable, DeadlineExceeded) as error:
            pause = patience.try_again(error)
        time.sleep(pause)


def patient(id: str, ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return a question that is ``False`` while ``ask`` raises what may pass; it is not asked in each pause."""
    patience, ask_at = Patience(id), 0.0

    def asked() -> bool:
        nonlocal ask_at
        if time.monotonic() < ask_at:
            return False
        try:
            return ask()
        except (Unavailable, DeadlineExceeded) as error:
            ask_at = time.monotonic() + patience.try_again(error)
        return False

    return asked
