"""The supervised plugins: the states of one, from its reservation to its exit, and the table of all of them.

The table decides who holds an id, and which of several reports of an exit counts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum

from pluginexec.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, NotFound, one_line
from pluginexec.linux.cgroups import CgroupPath, oom_killed
from pluginexec.linux.forks import Maker
from pluginexec.linux.pidfd import InitProcess
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.root.root import Root
from pluginexec.streams.streams import Streams
from pluginexec.types import EventInfo, ExitStatus
from pluginexec.validation import check_id

log = logging.getLogger(__name__)

_EXITS_BETWEEN_CLEANUPS = 64


class State(Enum):
    """The state of a supervised plugin."""

    STARTING = "starting"
    """Its id is taken; events about it are held back until its pid is known."""
    RUNNING = "running"
    EXITING = "exiting"
    """Its exit is known, and one worker is processing it."""


@dataclass(frozen=True)
class End:
    """The end of an init process as it was seen at once, or ``late``; ``oom_killed`` is ``None`` if unknown."""

    at: datetime
    late: bool
    oom_killed: bool | None


@dataclass(eq=False)
class SupervisedPlugin:
    """One run of a plugin; the table's lock guards ``state``, ``pending_exits`` and ``oom_event``."""

    id: str
    files: PluginFiles
    state: State = State.STARTING
    pid: int = 0
    init: InitProcess | None = None
    """``None`` where the process had ended before a pidfd of it could be opened."""
    streams: Streams | None = None
    cgroups_path: CgroupPath = ""
    pending_exits: list[EventInfo] = field(default_factory=list)
    oom_event: bool = False
    end: End | None = None
    """What was seen of its end when the kernel reported it, which containerd may not have done yet."""
    exit_seen_at: float | None = None
    """When the kernel first reported that it has ended, while containerd did not; on the monotonic clock."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set when the executor is done with it: it has exited, never started, or is no longer supervised."""
    status: ExitStatus | None = None

    def has_ended(self) -> bool:
        """Return whether the init process is known to have ended; costs one system call."""
        return self.init is None or self.init.has_ended()

    def note_end(self, *, late: bool) -> None:
        """Keep what can be seen of its end at this moment; ``late`` if it ended some time before."""
        if self.end is None:
            # A containerd that is started again deletes what has ended, and with it the cgroup.
            self.end = End(datetime.now(timezone.utc), late, oom_killed(self.cgroups_path))


class PluginTable:
    """One executor's plugins by id.

    ``exit_timeout``: seconds in which a plugin that has exited is deleted and drained, at the very most.
    """

    def __init__(self, root: Root, exit_timeout: float) -> None:
        self._root = root
        self._exit_timeout = exit_timeout
        self._maker = Maker()
        # Guards the table, and of each plugin in it the state, the pending exits and the closing of its pidfd.
        self._lock = threading.Condition()
        self._plugins: dict[str, SupervisedPlugin] = {}
        self._reserved_for_cleanup: dict[str, SupervisedPlugin] = {}
        self._closed = False
        self._removed = 0
        self._remove_old_exits()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def __contains__(self, id: object) -> bool:
        return id in self._plugins

    def get(self, id: str) -> SupervisedPlugin:
        """Return the plugin of this id; ``NotFound`` if there is none, ``InvalidArgument`` if there cannot be one."""
        plugin = self._plugins.get(check_id(id))
        if plugin is None:
            raise NotFound("no such plugin", id=id)
        return plugin

    def get_own(self, id: str) -> SupervisedPlugin:
        """As ``get``, for what only the process that made the executor can do: ``FailedPrecondition`` in a fork."""
        self._maker.check()
        return self.get(id)

    def reserve(self, id: str) -> SupervisedPlugin:
        """Take an id for a plugin that is about to start or to be found; events about it are held back from now on.

        Waits where the last plugin of this id has exited and is being cleaned up. Raises ``AlreadyExists`` where it
        runs, ``FailedPrecondition`` where the executor is closed.
        """
        self._maker.check()
        while True:
            with self._lock:
                if self._closed:
                    raise FailedPrecondition("the executor is closed")
                plugin = self._plugins.get(id) or self._reserved_for_cleanup.get(id)
                if plugin is None:
                    log.debug("%s: starting", id)
                    return self._plugins.setdefault(id, SupervisedPlugin(id, self._root.plugin(id)))
                if plugin.state is State.STARTING:
                    raise AlreadyExists("it is being created or restored")
                if plugin.state is State.RUNNING and not plugin.has_ended():
                    raise AlreadyExists(f"it is running (pid {plugin.pid})")
            if not plugin.done.wait(self._exit_timeout):
                raise DeadlineExceeded(
                    f"the previous container with this id was not cleaned up within {self._exit_timeout:g} s"
                )

    @contextmanager
    def reserve_for_cleanup(self, id: str) -> Iterator[bool]:
        """Take an id, if it is free, to delete what is left of it; ``reserve`` waits, all others find no plugin."""
        with self._lock:
            is_free = id not in self._plugins and id not in self._reserved_for_cleanup and not self._closed
            plugin = SupervisedPlugin(id, self._root.plugin(id), state=State.EXITING)
            if is_free:
                self._reserved_for_cleanup[id] = plugin
        try:
            yield is_free
        finally:
            if is_free:
                with self._lock:
                    del self._reserved_for_cleanup[id]
                plugin.done.set()

    def started(self, plugin: SupervisedPlugin) -> EventInfo | None:
        """Record that a plugin runs; return its exit event if that came before its pid was known."""
        with self._lock:
            exits = [event for event in plugin.pending_exits if event.pid == plugin.pid]
            plugin.state = State.EXITING if exits else State.RUNNING
            # Under the lock: its exit is logged after its start.
            log.debug("%s: running (pid %d)", plugin.id, plugin.pid)
            for event in plugin.pending_exits:
                if event.pid != plugin.pid:
                    _log_ignored(event, "wrong pid, expected %d", plugin.pid)
            self._lock.notify_all()
        if exits:
            log.debug("%s: exiting: an event that was held back reports the exit (pid %d)", plugin.id, plugin.pid)
        return exits[0] if exits else None

    def record_oom(self, id: str) -> None:
        """Record that the OOM killer was at work in a plugin."""
        with self._lock:
            plugin = self._plugins.get(id)
            if plugin:
                plugin.oom_event = True
        log.debug("%s: OOM event %s", one_line(id), "recorded" if plugin else "ignored: not supervised here")

    def match_exit(self, event: EventInfo) -> SupervisedPlugin | None:
        """Return the plugin whose exit this event reports: for any other event, and for a second one, ``None``.

        containerd reports the exits of execs in the same words, repeats itself after a restart, and knows containers
        of other programs: the process must be the init process, and its pid the one that the executor knows.
        """
        if event.process_id != event.container_id:
            _log_ignored(event, "the exit of an exec, %s", one_line(event.process_id))
            return None
        with self._lock:
            plugin = self._plugins.get(event.container_id)
            if plugin and plugin.state is State.STARTING:
                plugin.pending_exits.append(event)
                log.debug("%s: exit event (pid %d) held back until the start is known", plugin.id, event.pid)
                return None
            if plugin is None:
                _log_ignored(event, "not supervised here")
                return None
            if plugin.pid != event.pid:
                _log_ignored(event, "wrong pid, expected %d", plugin.pid)
                return None
            if plugin.state is not State.RUNNING:
                _log_ignored(event, "second report of this exit")
                return None
            plugin.state = State.EXITING
        log.debug("%s: exiting: an event reports the exit (pid %d, code %s)", plugin.id, event.pid, event.exit_code)
        return plugin

    def claim_exit(self, plugin: SupervisedPlugin) -> bool:
        """Record that a plugin has exited, without an event; return whether this is the first report."""
        with self._lock:
            claimed = plugin.state is State.RUNNING
            if claimed:
                plugin.state = State.EXITING
        return claimed

    def unclaim_exit(self, plugin: SupervisedPlugin) -> None:
        """Undo a claim that could not be acted on."""
        with self._lock:
            plugin.state = State.RUNNING

    def is_alive(self, plugin: SupervisedPlugin) -> bool:
        """Return whether a plugin has started and its process has not ended."""
        with self._lock:
            return plugin.state is State.RUNNING and not plugin.has_ended()

    def send(self, plugin: SupervisedPlugin, number: int) -> bool:
        """Send a signal to a plugin's process, past containerd; return whether that had not ended."""
        with self._lock:
            return plugin.init is not None and plugin.init.send(number)

    def exited(self) -> list[SupervisedPlugin]:
        """Return the plugins that should run, and whose process has ended."""
        with self._lock:
            return [plugin for plugin in self._in_state(State.RUNNING) if plugin.has_ended()]

    def remove(self, plugin: SupervisedPlugin) -> None:
        """Take a plugin out of the table, and wake all who wait for it."""
        with self._lock:
            if self._plugins.get(plugin.id) is plugin:
                del self._plugins[plugin.id]
            if plugin.init:
                plugin.init.close()
            self._removed += 1
            if self._removed % _EXITS_BETWEEN_CLEANUPS == 0:
                self._remove_old_exits()
            self._lock.notify_all()
        log.debug("%s: removed", plugin.id)
        plugin.done.set()

    def release(self, plugin: SupervisedPlugin) -> None:
        """Stop supervising a plugin: it goes on running, and its output waits for the next executor."""
        log.debug("%s: released: it goes on running", plugin.id)
        if plugin.streams:
            plugin.streams.stop()
        self.remove(plugin)

    def close(self) -> list[SupervisedPlugin] | None:
        """Take no more plugins, wait for those that start, and return those that run, for ``release``.

        Returns ``None`` if it is closed already, or this process is a fork of the one that made it.
        """
        if not self._maker.is_this_process():
            return None
        with self._lock:
            if self._closed:
                return None
            self._closed = True
            self._lock.wait_for(lambda: not self._in_state(State.STARTING), timeout=self._exit_timeout)
            return self._in_state(State.RUNNING)

    def _in_state(self, state: State) -> list[SupervisedPlugin]:
        return [plugin for plugin in self._plugins.values() if plugin.state is state]

    def _remove_old_exits(self) -> None:
        # Under the lock: a create could take the id, and its directory, meanwhile. A directory that is complete was
        # left by an executor that was killed between the record and the deletion: its last output is still in there.
        for files in self._root.old_exits():
            if files.id not in self._plugins and not files.exist():
                files.remove()


def _log_ignored(event: EventInfo, reason: str, *args: object) -> None:
    log.debug(f"%s: exit event (pid %d) ignored: {reason}", one_line(event.container_id), event.pid, *args)
