"""Parse the lines of ``ctr events``: ``DATE TIME +0000 UTC NAMESPACE TOPIC JSON``.

Only what befalls tasks, and the marker of ``events.py``, is understood; everything else raises ``ValueError`` with a
short reason, never more.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from pluginexec.types import EventInfo, EventType

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Go prints up to nine digits of a second, trailing zeros trimmed; Python keeps six.
# Compiled, and kept, by re at the first event, and not at import.
_RFC_3339 = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
_TASK_TOPICS = {f"/tasks/{event_type.value}": event_type for event_type in EventType}
_NAMESPACE_UPDATE = "/namespaces/update"
_LARGEST_PID = (1 << 31) - 1
_LARGEST_EXIT_CODE = 255


@dataclass(frozen=True)
class TaskEvent:
    """Something happened to a container's task."""

    namespace: str
    type: EventType
    info: EventInfo


@dataclass(frozen=True)
class LabelsEvent:
    """The labels of a namespace were set."""

    namespace: str
    labels: dict[str, Any]


def parse_line(line: bytes) -> TaskEvent | LabelsEvent:
    """Return what ``line`` says; ``ValueError`` if it says nothing that we know."""
    fields = line.decode(errors="replace").strip().split(" ", 6)
    if len(fields) != 7 or fields[2:4] != ["+0000", "UTC"]:
        raise ValueError("not an event line")
    namespace, topic = fields[4], fields[5]
    try:
        payload = json.loads(fields[6])
    except (ValueError, RecursionError):
        raise ValueError("payload is not JSON") from None
    if not isinstance(payload, dict):
        raise ValueError("payload is not an object")
    if topic == _NAMESPACE_UPDATE:
        labels = payload.get("labels")
        return LabelsEvent(namespace, labels if isinstance(labels, dict) else {})
    event_type = _TASK_TOPICS.get(topic)
    if event_type is None:
        raise ValueError("unknown topic")
    return TaskEvent(namespace, event_type, _event_info(payload, parse_time(f"{fields[0]}T{fields[1]}Z")))


def _event_info(payload: dict[str, Any], told_at: datetime | None) -> EventInfo:
    container_id = payload.get("container_id")
    if not isinstance(container_id, str) or not container_id:
        raise ValueError("event without a container_id")
    process_id = payload.get("id", payload.get("exec_id", ""))
    return EventInfo(
        container_id=container_id,
        process_id=process_id if isinstance(process_id, str) else "",
        pid=_number(payload, "pid", _LARGEST_PID),
        # Protobuf's JSON leaves a field out when it is 0.
        exit_code=_number(payload, "exit_status", _LARGEST_EXIT_CODE),
        exited_at=parse_time(payload.get("exited_at")),
        told_at=told_at,
    )


def _number(payload: dict[str, Any], key: str, largest: int) -> int:
    value = payload.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
        raise ValueError(f"{key} is not a number")
    return value


def parse_time(value: object) -> datetime | None:
    """Return a time as ``ctr`` 1.6 prints it (RFC 3339), or 1.7 and later (seconds and nanos); ``None`` for neither.

    A time that is not understood is no reason to lose an exit, so nothing is raised.
    """
    try:
        if isinstance(value, dict):
            since = timedelta(seconds=value.get("seconds", 0), microseconds=value.get("nanos", 0) // 1000)
            return _EPOCH + since
        found = re.fullmatch(_RFC_3339, value) if isinstance(value, str) else None
        if not found:
            return None
        seconds, fraction, zone = found.groups(default="")
        offset = "+00:00" if zone == "Z" else zone
        parsed = datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}{offset}")
        return parsed.astimezone(timezone.utc)
    except (ValueError, TypeError, OverflowError):
        return None
