"""A relay: one thread that copies one stream of a plugin to a writer, until its end or until it is stopped."""

from __future__ import annotations

import logging
import os
import select
import threading
import time

from pluginexec.types import Writer

log = logging.getLogger(__name__)

CHUNK = 1 << 17
"""Bytes read at once: what one ``write`` gets at most."""


class Relay:
    """Copies from a descriptor, which it owns and closes, to a writer, which it closes exactly once.

    A writer that fails must not block the plugin: its error is logged once, and the rest is read and discarded.
    """

    def __init__(self, name: str, source: int, writer: Writer | None) -> None:
        self.name = name
        self.bytes_read = 0
        self._source = source
        self._writer = writer
        self._failed = writer is None
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        """Guards the descriptors' closing: a number that is used after it is another file's."""
        self._runs = False
        self._started = False
        self._disposed = False
        self._gate = threading.Event()
        """Set when the thread may go on: to copy, or to end because it was given back before it was started."""
        self._progressed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"pluginexec-{name}", daemon=True)

    def prepare(self) -> None:
        """Make the thread, which waits for ``start``; raises ``RuntimeError`` when out of threads."""
        self._runs = True
        try:
            self._thread.start()
        except BaseException:
            self._runs = False
            raise

    def start(self) -> None:
        """Start to copy."""
        if not self._runs:
            self.prepare()
        self._started = True
        self._gate.set()

    def stop(self) -> None:
        """Ask the thread to end after the chunk that it is at; bytes not yet read stay where they are."""
        with self._lock:
            if self._stop >= 0:
                os.eventfd_write(self._stop, 1)

    def join(self, deadline: float, *, since: float = 0.0, idle: float = float("inf")) -> bool:
        """Wait for the end, and return whether it came.

        The wait is over at ``deadline``, and when no byte has moved for ``idle`` seconds ``since``; both times are of
        the monotonic clock.
        """
        while self._thread.is_alive():
            now = time.monotonic()
            until = min(deadline, max(self._progressed, since) + idle)
            if now >= until:
                return False
            self._thread.join(until - now)
        return True

    def dispose(self) -> None:
        """Close the descriptors; while the thread runs that is left to it, at its end. May be called again.

        The writer of a relay that was not started is not closed.
        """
        with self._lock:
            self._disposed = True
            if not self._runs:
                self._close()
        self._gate.set()

    def _close(self) -> None:
        for descriptor in (self._source, self._stop):
            if descriptor >= 0:
                os.close(descriptor)
        self._source = self._stop = -1

    def _run(self) -> None:
        self._gate.wait()
        try:
            if self._started:
                self._copy()
        except Exception:
            log.exception("relay of %s failed", self.name)
        finally:
            if self._started and self._writer is not None:
                close_writer(self._writer, self.name)
            with self._lock:
                self._runs = False
                if self._disposed:
                    self._close()

    def _copy(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._stop in ready:
                return
            try:
                data = os.read(self._source, CHUNK)
            except BlockingIOError:
                continue
            if not data:
                return
            self._progressed = time.monotonic()
            self.bytes_read += len(data)
            self._deliver(data)
            self._progressed = time.monotonic()

    def _deliver(self, data: bytes) -> None:
        if self._failed or self._writer is None:
            return
        try:
            while data:
                taken = self._writer.write(data)
                if taken is None or taken >= len(data):
                    return
                if taken <= 0:
                    raise OSError("the writer takes no more bytes")
                # A raw file may take a part: offer the rest again.
                data = data[taken:]
                self._progressed = time.monotonic()
        except Exception:
            self._failed = True
            log.exception("writer of %s failed; the rest of its output is discarded", self.name)


def close_writer(writer: Writer, name: str) -> None:
    """Close a writer; what it raises is logged."""
    try:
        writer.close()
    except Exception:
        log.exception("writer of %s could not be closed", name)
