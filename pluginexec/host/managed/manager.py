"""Managed plugins of a root, as the commands work on them: enabled in the background, and disabled again.

A plugin is enabled when it runs and has answered to Plugin.Activate. The steps of each change are in such an order that
whoever comes after one that was killed finds out how far it came: the plugin's own lock is held for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pluginexec.errors import FailedPrecondition, PluginExecError
from pluginexec.host.host import Host
from pluginexec.host.managed.container import DetachedContainer, stop_and_clear
from pluginexec.host.managed.files import managed_record
from pluginexec.host.managed.store import ManagedStore
from pluginexec.host.records import Record, State, is_alive
from pluginexec.managed.activation import STOP_TIMEOUT, PluginRunner
from pluginexec.managed.client import call
from pluginexec.managed.settings import changed

ENABLE_TIMEOUT = 30.0
"""Seconds until a plugin must have answered."""
DISABLE_TIMEOUT = STOP_TIMEOUT


class ManagedHost:
    """The managed plugins of a root directory; it keeps nothing open."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.host = Host(root)
        self.store = ManagedStore(root)

    def record(self, name: str) -> Record | None:
        """Return the record of a plugin; ``None`` if it was never enabled."""
        return managed_record(self.host.records, name)

    def enable(self, name: str, address: str | None, namespace: str, timeout: float = ENABLE_TIMEOUT) -> None:
        """Start a plugin in the background, and return when it has answered to Plugin.Activate.

        Raises ``FailedPrecondition`` for one that is enabled, and for one that ends before it answers;
        ``DeadlineExceeded`` for one that does not answer within ``timeout`` seconds. Then nothing of it is left but its
        log.
        """
        with _about("enable", name), self.store.changing(name):
            state = self._state(name)
            if self.store.implements(name) is not None and _is_up(state):
                raise FailedPrecondition("plugin already enabled")
            runner = self._runner(name, address, namespace)
            if is_alive(state):  # started by a command that was killed before the plugin had answered
                implements = runner.activate(timeout)
            else:
                implements = runner.start(self.store.settings(name), timeout)
            try:
                self.store.write_implements(name, implements)
            except BaseException:
                runner.abort()
                raise

    def disable(self, name: str, timeout: float = DISABLE_TIMEOUT) -> None:
        """Stop a plugin: SIGTERM, ``timeout`` seconds, SIGKILL; ``FailedPrecondition`` if it is not enabled."""
        with _about("disable", name), self.store.changing(name):
            is_due = self.store.implements(name) is not None or _is_up(self._state(name))
            stop_and_clear(self.host, self.store, name, timeout)
            if not is_due:
                raise FailedPrecondition("plugin is already disabled")

    def set(self, name: str, pairs: Iterable[str]) -> None:
        """Change what a plugin is enabled with; ``FailedPrecondition`` while it runs."""
        with _about("set", name), self.store.changing(name):
            if _is_up(self._state(name)):
                hint = f"'pluginexec plugin disable {name}' stops it"
                raise FailedPrecondition("plugin is enabled, and can be set only while it is disabled", hint=hint)
            self.store.write_settings(name, changed(self.store.config(name), self.store.settings(name), pairs))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a plugin and its logs; ``FailedPrecondition`` if it runs, unless ``force`` disables it first."""
        with _about("remove", name), self.store.changing(name):
            if not force and _is_up(self._state(name)):
                raise FailedPrecondition("plugin is enabled", hint="disable it first, or use 'plugin rm -f'")
            stop_and_clear(self.host, self.store, name, DISABLE_TIMEOUT)
            if self.record(name):
                self.host.remove(name)
            self.store.remove(name)

    def call(self, name: str, method: str, body: object, timeout: float) -> Any:
        """Return what a plugin that runs answers to a method; raises as ``pluginexec.managed.client.call``."""
        with _about("call", name):
            files, config = self.store.files(name), self.store.config(name)
            if not is_alive(self._state(name)):
                raise FailedPrecondition("plugin is not enabled", hint=f"'pluginexec plugin enable {name}' starts it")
            return call(files.directories.socket(config), method, body, timeout=timeout)

    def _state(self, name: str) -> State:
        """Return the state of its record, after finding out how it ended if that is not known yet."""
        return self.host.reconcile(name) if self.record(name) else State()

    def _runner(self, name: str, address: str | None, namespace: str) -> PluginRunner:
        files = self.store.files(name)
        container = DetachedContainer(self.host, self.store, name, address, namespace)
        hint = f"'pluginexec plugin logs {name}' shows all that it printed"
        return PluginRunner(container, name, self.store.config(name), files.rootfs, files.directories, hint=hint)


@contextmanager
def _about(operation: str, name: str) -> Iterator[None]:
    """Have the errors say what was tried, and with which plugin."""
    try:
        yield
    except PluginExecError as error:
        error.operation, error.id = operation, name
        raise


def _is_up(state: State) -> bool:
    """Tell whether it runs, or is started again in a moment."""
    return is_alive(state) or state.status == "restarting"
