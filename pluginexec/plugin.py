"""One life of a plugin, from its reservation in the executor's table to its last exit event."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum

from pluginexec.linux.pidfd import InitProcess
from pluginexec.root import PluginFiles
from pluginexec.streams.streams import Streams
from pluginexec.types import EventInfo, ExitStatus


class State(Enum):
    """Where a plugin stands in its life."""

    STARTING = "starting"
    """Its id is taken; events about it are held back until its pid is known."""
    RUNNING = "running"
    ENDING = "ending"
    """Its end is known, and one worker is dealing with it."""


@dataclass(eq=False)
class SupervisedPlugin:
    """One life; the executor's lock guards ``state``, ``pending_exits`` and ``oom_event``."""

    id: str
    files: PluginFiles
    state: State = State.STARTING
    pid: int = 0
    init: InitProcess | None = None
    """``None`` where the process had ended before it could be held."""
    streams: Streams | None = None
    cgroups_path: str = ""
    pending_exits: list[EventInfo] = field(default_factory=list)
    oom_event: bool = False
    exit_seen_at: float | None = None
    """When the kernel first said that it has ended, while containerd did not; on the monotonic clock."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set when this life is over for the executor: it has ended, never started, or is no longer supervised."""
    status: ExitStatus | None = None

    def has_ended(self) -> bool:
        """Tell whether the init process is known to have ended; costs one system call."""
        return self.init is None or self.init.has_ended()
