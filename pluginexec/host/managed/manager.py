"""The managed plugins of a root, as the commands work on them: enable in the background, disable, set, call, remove.

A plugin is enabled when it runs and has answered to Plugin.Activate. Each change holds the plugin's lock. The order of
its steps lets the next command find out how far one that was killed had come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pluginexec.containerd.remote import DEFAULT_TIMEOUT
from pluginexec.errors import FailedPrecondition, PluginExecError
from pluginexec.host.host import Host
from pluginexec.host.managed.container import DetachedContainer, stop_and_clear
from pluginexec.host.managed.files import managed_record
from pluginexec.host.managed.store import ManagedStore
from pluginexec.host.records import Record, State, is_alive
from pluginexec.managed.activation import STOP_TIMEOUT, PluginRunner
from pluginexec.managed.client import call
from pluginexec.managed.settings import changed
from pluginexec.root.layout import Layout

ENABLE_TIMEOUT = 30.0
"""Seconds within which a plugin must answer."""
DISABLE_TIMEOUT = STOP_TIMEOUT


class ManagedHost:
    """The managed plugins of a root directory; it keeps nothing open."""

    def __init__(self, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.host = Host(layout, timeout)
        self.store = ManagedStore(layout)

    def record(self, name: str) -> Record | None:
        """Return the record of a plugin; ``None`` if it was never enabled."""
        return managed_record(self.host.records, name)

    def enable(self, name: str, address: str | None, namespace: str, timeout: float = ENABLE_TIMEOUT) -> None:
        """Start a plugin in the background, and wait until it has answered to Plugin.Activate.

        Raises ``FailedPrecondition`` if it is enabled, or ends before it answers; ``DeadlineExceeded`` if it does not
        answer within ``timeout`` seconds. After a failed start only its log is left.
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
        """Stop a plugin: SIGTERM, ``timeout`` seconds, SIGKILL; raise ``FailedPrecondition`` if it is not enabled."""
        with _about("disable", name), self.store.changing(name):
            was_enabled = self.store.implements(name) is not None or _is_up(self._state(name))
            stop_and_clear(self.host, self.store, name, timeout)
            if not was_enabled:
                raise FailedPrecondition("plugin is already disabled")

    def set(self, name: str, pairs: Iterable[str]) -> None:
        """Change the settings of a plugin; raise ``FailedPrecondition`` while it runs."""
        with _about("set", name), self.store.changing(name):
            if _is_up(self._state(name)):
                hint = f"'pluginexec plugin disable {name}' stops it"
                raise FailedPrecondition("plugin is enabled, and can be set only while it is disabled", hint=hint)
            self.store.write_settings(name, changed(self.store.config(name), self.store.settings(name), pairs))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a plugin and its logs; raise ``FailedPrecondition`` if it runs, unless ``force`` disables it first."""
        with _about("remove", name), self.store.changing(name):
            if not force and _is_up(self._state(name)):
                raise FailedPrecondition("plugin is enabled", hint="disable it first, or use 'plugin rm -f'")
            stop_and_clear(self.host, self.store, name, DISABLE_TIMEOUT)
            if self.record(name):
                self.host.remove(name)
            self.store.remove(name)

    def call(self, name: str, method: str, body: object, timeout: float) -> Any:
        """Call a method of a running plugin, and return its answer; raises as ``pluginexec.managed.client.call``."""
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
    """Set the operation and the id of errors."""
    try:
        yield
    except PluginExecError as error:
        error.operation, error.id = operation, name
        raise


def _is_up(state: State) -> bool:
    """Return whether a plugin runs, or is about to be restarted."""
    return is_alive(state) or state.status == "restarting"
