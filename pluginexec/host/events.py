"""The events of a root's plugins, each once: from containerd as they come, and from the records what it cannot tell.

containerd keeps no history, tells nothing while it is down, and knows nothing of a plugin before it is started and
after it has ended; so the records are looked at again and again.
"""

from __future__ import annotations

import contextlib
import logging
import queue
from collections.abc import Iterator
from dataclasses import replace

from pluginexec.errors import PluginExecError
from pluginexec.host.history import Event, now, remembered, told
from pluginexec.host.records import Record, Records, State
from pluginexec.host.timestamps import nanoseconds
from pluginexec.types import EventInfo, EventType

log = logging.getLogger(__name__)


class Feed:
    """A backend of an event stream that adds what the records know, from ``since`` (ns since 1970) on."""

    def __init__(self, records: Records, since: int) -> None:
        self._records = records
        self._since = since
        self._arrived: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._known: dict[str, tuple[Record, State]] = {}
        self._last: dict[tuple[str, str], Event] = {}
        self._connections = 0

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        """Take an event of containerd's; called on the stream's thread."""
        event = told(event_type, event_info)
        if event:
            self._arrived.put(event)

    def events_connected(self) -> None:
        """Warn, unless it is the first time: what was told meanwhile is lost."""
        self._connections += 1
        if self._connections > 1:
            log.warning("containerd's events are back; of what happened meanwhile, only starts and ends are told")

    def take(self, timeout: float) -> list[Event]:
        """Return what is new, in the order of time; wait until containerd tells something, but no longer than that."""
        arrived = list(self._wait(timeout))
        before, self._known = self._known, self._read_records()
        known = before | self._known
        # containerd's own first: of what both tell, its time is the better one.
        new = [event for event in arrived if self._is_new(event)]
        new = [replace(event, labels=known[event.id][0].labels) if event.id in known else event for event in new]
        new += self._removed(before)
        for record, state in self._known.values():
            new += [event for event in remembered(record, state) if self._was_missed(event)]
        return sorted(new, key=lambda event: event.time)

    def _wait(self, timeout: float) -> Iterator[Event]:
        with contextlib.suppress(queue.Empty):
            yield self._arrived.get(timeout=timeout) if timeout > 0 else self._arrived.get_nowait()
            while True:
                yield self._arrived.get_nowait()

    def _read_records(self) -> dict[str, tuple[Record, State]]:
        found = {}
        for id in self._records.ids():
            with contextlib.suppress(PluginExecError):  # removed meanwhile, or not to be understood
                found[id] = (self._records.record(id), self._records.state(id))
        return found

    def _removed(self, before: dict[str, tuple[Record, State]]) -> Iterator[Event]:
        for id, (record, _) in before.items():
            successor = self._known.get(id)
            if successor and successor[0].created_at == record.created_at:
                continue
            for key in [key for key in self._last if key[0] == id]:
                del self._last[key]
            yield Event(successor[0].created_at if successor else now(), "destroy", id, {}, record.labels)

    def _is_new(self, event: Event) -> bool:
        """Return whether an event of containerd's was not told yet, and note it."""
        last = self._last.get((event.id, event.action))
        if event.life and last and last.life == event.life:
            return False
        self._last[event.id, event.action] = event
        return True

    def _was_missed(self, event: Event) -> bool:
        """Return whether what a record remembers was not told yet, and note it."""
        if nanoseconds(event.time) < self._since:
            return False
        last = self._last.get((event.id, event.action))
        # The state is written after the event: it may be that of an earlier life, or know no pid.
        if last and (event.time <= last.time or not event.life):
            return False
        return self._is_new(event)
