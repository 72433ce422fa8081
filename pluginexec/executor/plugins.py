"""The table of the plugins that live: who holds an id, and which report of an end is the one that counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pluginexec.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, NotFound
from pluginexec.plugin import State, SupervisedPlugin
from pluginexec.root import Root
from pluginexec.types import EventInfo
from pluginexec.validation import check_id

_EXITS_BETWEEN_CLEANUPS = 64


class PluginTable:
    """One executor's plugins by id.

    ``ending_timeout``: seconds in which a plugin that has ended is deleted and drained, at the very most.
    """

    def __init__(self, root: Root, ending_timeout: float) -> None:
        self._root = root
        self._ending_timeout = ending_timeout
        # Guards the table, and of each plugin in it the state, the held events and the life of its pidfd.
        self._lock = threading.Condition()
        self._plugins: dict[str, SupervisedPlugin] = {}
        self._borrowed: dict[str, SupervisedPlugin] = {}
        self._closed = False
        self._forgotten = 0
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

    def reserve(self, id: str) -> SupervisedPlugin:
        """Take an id for a plugin that is about to start or to be found; events about it are held back from now on.

        Waits where the last plugin of this id has ended and is being cleaned up. Raises ``AlreadyExists`` where it
        lives, ``FailedPrecondition`` where the executor is closed.
        """
        while True:
            with self._lock:
                if self._closed:
                    raise FailedPrecondition("the executor is closed")
                plugin = self._plugins.get(id) or self._borrowed.get(id)
                if plugin is None:
                    return self._plugins.setdefault(id, SupervisedPlugin(id, self._root.plugin(id)))
                if plugin.state is State.STARTING:
                    raise AlreadyExists("it is being created or restored")
                if plugin.state is State.RUNNING and not plugin.has_ended():
                    raise AlreadyExists(f"it is running (pid {plugin.pid})")
            if not plugin.done.wait(self._ending_timeout):
                raise DeadlineExceeded(f"its last life is not cleaned up after {self._ending_timeout:g} s")

    @contextmanager
    def reserve_for_cleanup(self, id: str) -> Iterator[bool]:
        """Take an id, if it is free, to delete what is left of it; a ``reserve`` waits, the rest finds no plugin."""
        with self._lock:
            is_free = id not in self._plugins and id not in self._borrowed and not self._closed
            plugin = SupervisedPlugin(id, self._root.plugin(id), state=State.ENDING)
            if is_free:
                self._borrowed[id] = plugin
        try:
            yield is_free
        finally:
            if is_free:
                with self._lock:
                    del self._borrowed[id]
                plugin.done.set()

    def started(self, plugin: SupervisedPlugin) -> EventInfo | None:
        """Note that a plugin runs; return its exit event if that came before its pid was known."""
        with self._lock:
            exits = [event for event in plugin.pending_exits if event.pid == plugin.pid]
            plugin.state = State.ENDING if exits else State.RUNNING
            self._lock.notify_all()
        return exits[0] if exits else None

    def note_oom(self, id: str) -> None:
        """Note that the OOM killer was at work in a plugin."""
        with self._lock:
            plugin = self._plugins.get(id)
            if plugin:
                plugin.oom_event = True

    def match_exit(self, event: EventInfo) -> SupervisedPlugin | None:
        """Return the plugin that this exit event ends: for any other event, and for a second one, ``None``.

        containerd reports the ends of execs in the same words, repeats itself after a restart, and knows containers
        that are not ours: the process must be the init process, and its pid the one that we know.
        """
        if event.process_id != event.container_id:
            return None
        with self._lock:
            plugin = self._plugins.get(event.container_id)
            if plugin and plugin.state is State.STARTING:
                plugin.pending_exits.append(event)
                return None
            if plugin is None or plugin.state is not State.RUNNING or plugin.pid != event.pid:
                return None
            plugin.state = State.ENDING
            return plugin

    def claim_exit(self, plugin: SupervisedPlugin) -> bool:
        """Note that a plugin has ended, without an event; return whether nobody else noted it before."""
        with self._lock:
            claimed = plugin.state is State.RUNNING
            if claimed:
                plugin.state = State.ENDING
        return claimed

    def unclaim_exit(self, plugin: SupervisedPlugin) -> None:
        """Undo a claim that could not be acted on."""
        with self._lock:
            plugin.state = State.RUNNING

    def is_alive(self, plugin: SupervisedPlugin) -> bool:
        """Tell whether a plugin has started and its process has not ended."""
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
        """Take a plugin that is over out of the table, and wake who waits for it."""
        with self._lock:
            if self._plugins.get(plugin.id) is plugin:
                del self._plugins[plugin.id]
            if plugin.init:
                plugin.init.close()
            self._forgotten += 1
            if self._forgotten % _EXITS_BETWEEN_CLEANUPS == 0:
                self._remove_old_exits()
            self._lock.notify_all()
        plugin.done.set()

    def close(self) -> list[SupervisedPlugin] | None:
        """Take no more plugins, wait for those that start, and return those that run; ``forget`` them one by one.

        Returns ``None`` if it is closed already.
        """
        with self._lock:
            if self._closed:
                return None
            self._closed = True
            self._lock.wait_for(lambda: not self._in_state(State.STARTING), timeout=self._ending_timeout)
            return self._in_state(State.RUNNING)

    def _in_state(self, state: State) -> list[SupervisedPlugin]:
        return [plugin for plugin in self._plugins.values() if plugin.state is state]

    def _remove_old_exits(self) -> None:
        # Under the lock: a create could take the id, and its directory, meanwhile. One that exists was left by an
        # executor that died between the record and the deletion: its last words are still in there.
        for files in self._root.old_exits():
            if files.id not in self._plugins and not files.exist():
                files.remove()
