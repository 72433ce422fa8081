"""The thread that waits for the end of the supervised init processes, by their pidfds.

The kernel reports an end even while containerd or ``ctr`` is down or hangs.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable

from pluginexec.linux.pidfd import InitProcess

log = logging.getLogger(__name__)

GRACE = 1.0
"""Seconds that containerd's own event may come later than the kernel's report, before containerd is asked."""
RETRY = 1.0
"""Seconds before asking again, when the answer settled nothing."""


class ExitWatcher:
    """One thread that waits for the end of any watched process, and then reconciles.

    ``reconcile`` is called on that thread, ``GRACE`` seconds after an end, or when ``schedule`` asks for it. It returns
    whether all is settled, and is called again after ``RETRY`` seconds if not.
    """

    def __init__(self, reconcile: Callable[[], bool]) -> None:
        self._reconcile = reconcile
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._epoll = select.epoll()
        except BaseException:
            os.close(self._wake)
            raise
        self._epoll.register(self._wake, select.EPOLLIN)
        self._lock = threading.Lock()
        self._due: float | None = None
        self._closed = False
        # By pidfd. Of one that was closed before its process ended, the entry stays until it is used anew.
        self._watched: dict[int, tuple[str, InitProcess, Callable[..., None]]] = {}
        self._thread = threading.Thread(target=self._run, name="pluginexec-watch", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._close_descriptors()
            raise

    def add(self, id: str, init: InitProcess, note_end: Callable[..., None]) -> None:
        """Watch a process until its pidfd is closed; ``note_end(late=...)`` is called when it ends, on the thread.

        ``late``: it may have ended some time before, while the thread was at work.
        """
        self._watched[init.pidfd] = id, init, note_end
        self._epoll.register(init.pidfd, select.EPOLLIN | select.EPOLLONESHOT)

    def schedule(self, after: float = 0.0) -> None:
        """Schedule a reconciliation in at most ``after`` seconds."""
        with self._lock:
            if not self._closed:
                self._set_due(time.monotonic() + after)
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End the thread; the pidfds that are still watched are closed by their owners."""
        with self._lock:
            self._closed = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._epoll.close()
        os.close(self._wake)

    def _set_due(self, at: float) -> None:
        self._due = at if self._due is None else min(self._due, at)

    def _run(self) -> None:
        late = False
        while True:
            with self._lock:
                if self._closed:
                    return
                timeout = None if self._due is None else max(0.0, self._due - time.monotonic())
            for descriptor, _ in self._epoll.poll(0 if late else timeout):
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                else:
                    self._note_end(descriptor, late)
            late = self._take_due()
            if late and not self._reconcile_safely():
                with self._lock:
                    self._set_due(time.monotonic() + RETRY)

    def _note_end(self, descriptor: int, late: bool) -> None:
        id, init, note_end = self._watched.get(descriptor, (None, None, None))
        # Else the report is of one that was closed meanwhile, and whose number another one got.
        if init and note_end and init.has_ended():
            del self._watched[descriptor]
            note_end(late=late)
            with self._lock:
                self._set_due(time.monotonic() + GRACE)
            log.debug("%s: the kernel reports that the init process has ended (pidfd)", id)

    def _take_due(self) -> bool:
        with self._lock:
            if self._closed or self._due is None or time.monotonic() < self._due:
                return False
            self._due = None
            return True

    def _reconcile_safely(self) -> bool:
        try:
            return self._reconcile()
        except Exception:
            log.exception("reconciling the plugins with containerd failed; it is tried again")
            return False
