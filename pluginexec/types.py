"""The values that pass between the rooms: statuses, events, tasks, sinks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

PLUGIN_NAMESPACE = "plugins.moby"
"""The containerd namespace in which moby keeps its plugins."""


class Writer(Protocol):
    """Where a relayed stream goes: any binary file object will do."""

    def write(self, data: bytes, /) -> int | None:
        """Take ``data``; return how many bytes were taken, or ``None`` for all of them."""

    def close(self) -> None:
        """Take the end of the stream; called exactly once, after the last byte."""


@dataclass(frozen=True)
class ExitStatus:
    """How a plugin ended.

    - ``exit_code``: 0 to 255; 128+n where signal n ended it (the convention of runc and the shell); ``None`` where
      it is unknown, because containerd forgot it and the kernel cannot be asked;
    - ``exited_at``: aware, UTC; from containerd's event, else from what held the process when it ended: the executor,
      or the logger of a ``JsonFile``;
    - ``pid``: the host's pid of the plugin's init process;
    - ``oom_killed``: whether the kernel's OOM killer ended a process of the plugin;
    - ``exited_at_is_upper_bound``: whether ``exited_at`` is only the moment at which the end was found.
    """

    exit_code: int | None
    exited_at: datetime
    pid: int
    oom_killed: bool = False
    exited_at_is_upper_bound: bool = False


class EventType(str, Enum):
    """What happened to a container; moby's names for containerd's ``/tasks/...`` topics."""

    CREATE = "create"
    START = "start"
    EXIT = "exit"
    DELETE = "delete"
    OOM = "oom"
    EXEC_ADDED = "exec-added"
    EXEC_STARTED = "exec-started"
    PAUSED = "paused"
    RESUMED = "resumed"
    CHECKPOINTED = "checkpointed"


@dataclass(frozen=True)
class EventInfo:
    """What an event says; a field that its topic does not carry keeps its default.

    ``process_id`` equals ``container_id`` for the init process, and is the exec's id for an exec. ``told_at`` is when
    containerd told it, which is no part of what happened.
    """

    container_id: str
    process_id: str = ""
    pid: int = 0
    exit_code: int = 0
    exited_at: datetime | None = None
    told_at: datetime | None = field(default=None, compare=False)


class TaskState(str, Enum):
    """The states that ``ctr tasks ls`` prints."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"
    """The shim gave no answer within containerd's two seconds, or ctr printed a state that we do not know."""


@dataclass(frozen=True)
class Task:
    """A row of ``ctr tasks ls``; ``pid`` is 0 where the state is ``UNKNOWN``."""

    id: str
    pid: int
    state: TaskState
