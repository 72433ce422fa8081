"""The exits that no event reported: they are found by asking the kernel, and then containerd."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pluginexec.containerd.client import Client
from pluginexec.errors import PluginExecError
from pluginexec.executor.exit_watcher import GRACE, ExitWatcher
from pluginexec.executor.exits import ExitProcessor
from pluginexec.executor.lifecycle import ALIVE
from pluginexec.executor.plugins import PluginTable, SupervisedPlugin
from pluginexec.types import EventInfo, Task, TaskState

log = logging.getLogger(__name__)

TRUST_KERNEL_AFTER = 10.0
"""Seconds after which the kernel is believed that a process has ended, where containerd still reports it as running."""


class Reconciler:
    """Finds the exits that no event reported, and starts the processing of each exit.

    - ``retry_cleanup``: deletes what could not be deleted before;
    - ``replace_events``: replaces the event stream, because it missed an exit.

    Both are called on its watcher's thread.
    """

    def __init__(
        self,
        client: Client,
        table: PluginTable,
        exits: ExitProcessor,
        *,
        retry_cleanup: Callable[[], None],
        replace_events: Callable[[], None],
    ) -> None:
        self._client = client
        self._table = table
        self._exits = exits
        self._retry_cleanup = retry_cleanup
        self._replace_events = replace_events
        self._watcher = ExitWatcher(self.reconcile)

    def watch(self, plugin: SupervisedPlugin) -> None:
        """Reconcile soon after the process of this plugin has ended."""
        if plugin.init:
            if plugin.init.has_ended():
                plugin.note_end(late=True)
            self._watcher.add(plugin.id, plugin.init, plugin.note_end)

    def schedule(self, after: float = 0.0) -> None:
        """Schedule a reconciliation in at most ``after`` seconds."""
        self._watcher.schedule(after)

    def close(self) -> None:
        """End the watcher's thread."""
        self._watcher.close()

    def start_exit(self, plugin: SupervisedPlugin, event: EventInfo | None, task: Task | None = None) -> None:
        """Start the processing of an exit that was claimed; without a thread for it, find it again later."""
        try:
            self._exits.start(plugin, event, task)
        except RuntimeError as error:  # out of threads, which may pass
            log.warning("%s: cannot process its exit now; it is tried again: %s", plugin.id, error)
            if self._table.closed:
                self._table.release(plugin)
                return
            self._table.unclaim_exit(plugin)
            self.schedule(GRACE)

    def reconcile(self) -> bool:
        """Find exits that no event reported, and delete what could not be deleted; return whether all is settled."""
        self._retry_cleanup()
        exited = self._table.exited()
        if not exited:
            return True
        try:
            tasks = self._client.tasks()
        except PluginExecError as error:
            log.debug("%s: cannot reconcile now: %s", ", ".join(plugin.id for plugin in exited), error)
            return False
        missed = [plugin for plugin in exited if self._has_exited(plugin, tasks.get(plugin.id))]
        if missed:
            log.debug("the event stream is replaced if it is older than the exits that it missed")
            self._replace_events()
        for plugin in missed:
            if self._table.claim_exit(plugin):
                task = tasks.get(plugin.id)
                state = task.state.value.lower() if task else "gone"
                log.debug(
                    "%s: exiting: reconciliation found the exit, no event reported it (pid %d, task %s)",
                    plugin.id, plugin.pid, state,
                )  # fmt: skip
                self.start_exit(plugin, None, task)
        return len(missed) == len(exited)

    def _has_exited(self, plugin: SupervisedPlugin, task: Task | None) -> bool:
        """Return whether a plugin counts as exited, whose process has ended by what the kernel reports."""
        now = time.monotonic()
        plugin.exit_seen_at = plugin.exit_seen_at or now
        if not task or not (task.state is TaskState.UNKNOWN or (task.pid == plugin.pid and task.state in ALIVE)):
            return True
        waited = now - plugin.exit_seen_at
        state = task.state.value.lower()
        log.debug("%s: the process has ended, but for %.1f s its task is %s", plugin.id, waited, state)
        return waited > TRUST_KERNEL_AFTER
