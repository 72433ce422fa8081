"""What happens to plugins, in docker's words: as containerd tells it, and as their records remember it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from pluginexec.host.records import Record, State
from pluginexec.types import EventInfo, EventType

_ACTIONS = {
    EventType.START: "start",
    EventType.EXIT: "die",
    EventType.OOM: "oom",
    EventType.PAUSED: "pause",
    EventType.RESUMED: "unpause",
    EventType.EXEC_ADDED: "exec_create",
    EventType.EXEC_STARTED: "exec_start",
}
ACTIONS = ("create", *_ACTIONS.values(), "exec_die", "destroy")


@dataclass(frozen=True)
class Event:
    """Something that happened to a plugin.

    ``attributes``: ``exit_code`` and ``exec_id``, where there are such. ``life`` tells what is one and the same from
    what happened once more: the pid of the init process, for a start or an end.
    """

    time: datetime
    action: str
    id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    life: object = None


def told(type: EventType, info: EventInfo) -> Event | None:
    """Return what containerd told as docker calls it; ``None`` for what docker does not tell."""
    action = _ACTIONS.get(type)
    if action is None:
        return None
    attributes: dict[str, Any] = {}
    of_exec = info.process_id not in ("", info.container_id)
    if of_exec:
        attributes["exec_id"] = info.process_id
    if action == "die":
        action = "exec_die" if of_exec else action
        attributes["exit_code"] = info.exit_code
    life = info.pid if action in ("start", "die") else None
    return Event(info.told_at or now(), action, info.container_id, attributes, {}, life)


def remembered(record: Record, state: State) -> list[Event]:
    """Return what a record still knows: the creation, the last start and the last end."""
    events = [Event(record.created_at, "create", record.id, {}, record.labels, record.created_at)]
    if state.started_at:
        # It is written down when containerd has answered, and a short life may be over by then.
        started_at = min(state.started_at, state.finished_at or state.started_at)
        events.append(Event(started_at, "start", record.id, {}, record.labels, state.pid))
    if state.finished_at:
        # An unknown exit code is left out, not invented.
        code = {} if state.exit_code is None else {"exit_code": state.exit_code}
        events.append(Event(state.finished_at, "die", record.id, code, record.labels, state.pid))
    return events


def now() -> datetime:
    """Return the time, aware."""
    return datetime.now(timezone.utc)
