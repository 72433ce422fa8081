"""The ``ctr events`` background process: start it, know when it stands, read it, start it again.

``ctr`` gives no sign that its subscription stands, and containerd replays nothing. So a marker, a label of the
namespace, is set until it is seen on the stream; from then on nothing is missed, and the backend is told to look at
what happened before.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import subprocess
import threading
import time
from typing import Protocol

from pluginexec.containerd.ctr import Ctr, close_pipes, kill_group
from pluginexec.containerd.event_parser import LabelsEvent, TaskEvent, parse_line
from pluginexec.errors import PluginExecError, one_line
from pluginexec.restart_policy import pause_before
from pluginexec.types import EventInfo, EventType

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
"""Seconds before a stream that ended is started again; doubled with each failure."""
LONGEST_PAUSE = 2.0
STUCK_AFTER = 10.0
"""Seconds after the first marker was set without any on the stream, after which another stream is tried."""
ENDINGS = "exit|oom"
"""What a supervisor acts on; exec events of others can come a thousand a second, and are left with containerd."""
ALL_TOPICS = ".*"
DISTRUST_AFTER = 2.0
"""Seconds for which a new stream is believed: what it missed was before it began."""
_JOIN_TIMEOUT = 5.0
_LONGEST_LINE = 1 << 20
_MARKER_LABEL = "pluginexec.ready"


class Backend(Protocol):
    """Who wants the events; both methods are called on the stream's threads."""

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        """Take one event of one container; must not block, because the next event waits for it."""

    def events_connected(self) -> None:
        """Take the report that the stream is active (again): what happened before must be found out by asking.

        While this takes its time, events arrive, but the stream is not started again.
        """


class EventStream:
    """The events of one namespace, delivered to a backend until ``close``.

    Its thread ``pluginexec-events`` owns the ``ctr`` child; a second one reads it while it lives. ``topics`` is a
    regular expression for what is wanted of ``/tasks/...``.
    """

    def __init__(self, ctr: Ctr, backend: Backend, topics: str = ENDINGS) -> None:
        self._ctr = ctr
        self._backend = backend
        self._filter = events_filter(ctr.namespace, topics)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._marker: subprocess.Popen[bytes] | None = None
        self._began_at = time.monotonic()
        self._warned_of: set[str] = set()
        self.malformed = 0
        """How many lines were skipped because they did not parse."""
        self._thread = threading.Thread(target=self._run, name="pluginexec-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the children and both threads; no event is delivered after this returns."""
        self._closed.set()
        with self._lock:
            children = [child for child in (self._child, self._marker) if child]
        for child in children:
            kill_group(child)
        self._thread.join()

    def distrust(self) -> None:
        """Start anew, unless the stream has only just begun: it missed an event, so it hangs."""
        with self._lock:
            child = self._child
        if child and time.monotonic() - self._began_at > DISTRUST_AFTER:
            kill_group(child)

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                stood = self._follow()
            except PluginExecError as error:
                stood = False
                self._warn_once(type(error).__name__, f"no events from containerd: {error}")
            except Exception as error:  # out of threads, or the backend failed: try again
                stood = False
                self._warn_once(type(error).__name__, "the event stream failed", error)
            if stood:
                self._warned_of.clear()
            failures = 0 if stood else failures + 1
            pause = pause_before(failures, FIRST_PAUSE, LONGEST_PAUSE)
            if not self._closed.is_set():
                log.debug("the event stream ended; it is started again in %g s", pause)
            self._closed.wait(pause)

    def _follow(self) -> bool:
        """Follow one ``ctr events`` to its end; return whether it ever stood."""
        nonce = os.urandom(8).hex()
        child = self._ctr.start("events", self._filter)
        self._began_at = time.monotonic()
        stands = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(child, nonce, stands), name="pluginexec-events-reader", daemon=True
        )
        try:
            with self._lock:
                self._child = child
            reader.start()
            if not self._closed.is_set() and self._mark(nonce, stands, reader):
                now = time.monotonic()
                log.debug("the event stream is active %.0f ms after its start", 1000 * (now - self._began_at))
                self._began_at = now
                self._backend.events_connected()
                reader.join()
            return stands.is_set()
        finally:
            with self._lock:
                self._child = None
            kill_group(child)
            # The reader ends with the child, unless something that left the group holds the pipe.
            if reader.is_alive():
                reader.join(_JOIN_TIMEOUT)
            if not reader.is_alive():
                close_pipes(child)

    def _mark(self, nonce: str, stands: threading.Event, reader: threading.Thread) -> bool:
        """Set the marker until it is seen on the stream."""
        deadline = math.inf
        wait = 0.01
        while reader.is_alive() and not self._closed.is_set() and time.monotonic() < deadline:
            self._label(f"{_MARKER_LABEL}={nonce}")
            deadline = min(deadline, time.monotonic() + STUCK_AFTER)  # a busy containerd may take long to answer
            if stands.wait(wait):
                return True
            wait = min(wait * 2, 0.5)
        return stands.is_set()

    def _label(self, label: str) -> None:
        """Label the namespace, by a command that ``close`` can end: while containerd hangs it takes its time."""
        arguments = ("namespaces", "label", self._ctr.namespace, label)
        marker = self._ctr.start(*arguments, separate_stderr=True)
        with self._lock:
            self._marker = marker
        if self._closed.is_set():  # after close looked for it
            kill_group(marker)
        try:
            self._ctr.finish(marker, *arguments, operation="mark the event stream")
        finally:
            with self._lock:
                self._marker = None

    def _read(self, child: subprocess.Popen[bytes], nonce: str, stands: threading.Event) -> None:
        assert child.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed under our feet
            while line := child.stdout.readline(_LONGEST_LINE):
                if not self._closed.is_set():
                    self._take(line, nonce, stands)

    def _take(self, line: bytes, nonce: str, stands: threading.Event) -> None:
        try:
            event = parse_line(line)
        except ValueError as error:
            self.malformed += 1
            # ctr's own last words come this way too: its stderr is behind its stdout.
            self._warn_once(str(error), f"event line skipped ({error}): {line[:200].decode(errors='replace').strip()}")
            return
        if event.namespace != self._ctr.namespace:
            log.debug("an event of namespace %s is ignored", one_line(event.namespace))
            return
        if isinstance(event, LabelsEvent):
            if event.labels.get(_MARKER_LABEL) == nonce:
                stands.set()
            return
        self._deliver(event)

    def _deliver(self, event: TaskEvent) -> None:
        try:
            self._backend.process_event(event.info.container_id, event.type, event.info)
        except Exception:
            log.exception("event of %s was not processed", one_line(event.info.container_id))

    def _warn_once(self, kind: str, message: str, error: Exception | None = None) -> None:
        """Log the first of each kind; a stream that is down for an hour is one line, not thousands."""
        if kind not in self._warned_of and not self._closed.is_set():
            self._warned_of.add(kind)
            log.warning("%s", one_line(message), exc_info=error)


def events_filter(namespace: str, topics: str) -> str:
    """Return the filter for what is wanted, and the marker: commas mean "and", and values need the quotes."""
    return f'namespace=="{namespace}",topic~="^/(tasks/({topics})|namespaces/update)$"'
