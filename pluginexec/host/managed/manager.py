"""Managed plugins of a root, as the commands work on them: enabled in the background, and disabled again.

A plugin is enabled when it runs and has answered to Plugin.Activate. The steps of each change are in such an order that
whoever comes after one that was killed finds out how far it came: the plugin's own lock is held for all of them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from pluginexec.daemon.private import ensure_running
from pluginexec.errors import AlreadyExists, FailedPrecondition, NotFound, PluginExecError, Unavailable
from pluginexec.host.host import WORK_TIMEOUT, Host
from pluginexec.host.logs.drivers import detached_sinks
from pluginexec.host.managed.files import LABEL
from pluginexec.host.managed.store import ManagedStore
from pluginexec.host.records import Record, State, is_alive
from pluginexec.linux.pidfd import InitProcess
from pluginexec.managed.activation import ABORT_TIMEOUT, STOP_TIMEOUT, how_it_ended
from pluginexec.managed.client import Ended, activate, call, wait_for_socket
from pluginexec.managed.output_tail import OutputTail
from pluginexec.managed.settings import changed
from pluginexec.managed.spec import init_spec
from pluginexec.types import ExitStatus

log = logging.getLogger(__name__)

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
        with suppress(NotFound):
            record = self.host.records.record(name)
            if record.labels.get(LABEL) == name:
                return record
        return None

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
            try:
                if not is_alive(state):
                    self._write_record(name, address, namespace)
                # One that runs was started by a command that was killed before it had answered.
                self._ready(name, timeout)
            except BaseException:
                self._undo(name)
                raise

    def disable(self, name: str, timeout: float = DISABLE_TIMEOUT) -> None:
        """Stop a plugin: SIGTERM, ``timeout`` seconds, SIGKILL; ``FailedPrecondition`` if it is not enabled."""
        with _about("disable", name), self.store.changing(name):
            is_due = self.store.implements(name) is not None or _is_up(self._state(name))
            self._put_down(name, timeout)
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
            self._put_down(name, DISABLE_TIMEOUT)
            if self.record(name):
                self.host.remove(name)
            self.store.remove(name)

    def call(self, name: str, method: str, body: object, timeout: float) -> Any:
        """Return what a plugin that runs answers to a method; raises as ``pluginexec.managed.client.call``."""
        with _about("call", name):
            files, config = self.store.files(name), self.store.config(name)
            if not is_alive(self._state(name)):
                raise FailedPrecondition("plugin is not enabled", hint=f"'pluginexec plugin enable {name}' starts it")
            return call(files.places.exec_dir / config.socket, method, body, timeout=timeout)

    def _state(self, name: str) -> State:
        """Return the state of its record, after finding out how it ended if nobody has."""
        return self.host.reconcile(name) if self.record(name) else State()

    def _ready(self, name: str, timeout: float) -> None:
        """Start a plugin, unless it runs, and have it answer."""
        words = OutputTail(*detached_sinks(self.host.records.record(name), self.host.records.directory(name)))
        words.begin()
        self.host.start(name)
        try:
            self.store.write_implements(name, self._activated(name, words, timeout))
        except PluginExecError as error:
            error.hint = error.hint or f"'pluginexec plugin logs {name}' shows all that it printed"
            raise

    def _planned(self, name: str, address: str, namespace: str) -> tuple[Record, dict[str, Any]]:
        """Return the record and the spec of a plugin."""
        files, config, managed = self.store.files(name), self.store.config(name), self.store.managed(name)
        spec = init_spec(
            config,
            self.store.settings(name),
            id=name,
            rootfs=files.rootfs,
            exec_dir=files.places.exec_dir,
            propagated_mount=files.places.propagated_mount,
        )
        before = self.record(name)
        record = Record(
            id=name,
            created_at=before.created_at if before else datetime.now(timezone.utc),
            address=address,
            namespace=namespace,
            command=list(spec["process"]["args"]),
            labels={LABEL: name},
            log_driver=managed.log_driver,
            log_opts=managed.log_opts,
            # What a person has disabled stays so, also when `serve` starts.
            restart="unless-stopped" if managed.restart == "always" else managed.restart,
        )
        return record, spec

    def _write_record(self, name: str, address: str | None, namespace: str) -> None:
        """Write down what is to run, as the configuration and the settings are now."""
        files, records = self.store.files(name), self.host.records
        files.activated.unlink(missing_ok=True)
        record, spec = self._planned(name, ensure_running(address, self.store.root).address, namespace)
        if self.record(name):
            with records.lock(name, WORK_TIMEOUT):
                records.renew(record, spec)
            return
        try:
            records.create(record, spec)
        except AlreadyExists as error:
            hint = f"'pluginexec rm {name}' removes that one"
            raise AlreadyExists("another plugin has this id, which is not managed", hint=hint) from error

    def _activated(self, name: str, words: OutputTail, timeout: float) -> list[str]:
        """Return what a plugin that was started answers to Plugin.Activate, once it listens."""
        deadline = time.monotonic() + timeout
        config = self.store.config(name)
        socket = self.store.files(name).places.exec_dir / config.socket
        with self.host.held(name) as init:
            try:
                if init is None:
                    raise Ended("it ended before it listened")
                wait_for_socket(socket, timeout=timeout, ended=init.pidfd)
                return activate(socket, config, max(0.001, deadline - time.monotonic()))
            except (Ended, Unavailable) as error:
                if init and not init.has_ended():
                    raise
                raise self._death(name, init, words) from error

    def _death(self, name: str, init: InitProcess | None, words: OutputTail) -> PluginExecError:
        """Find out how a plugin ended that was not ready yet, and return the error that tells of it."""
        state = self.host.reconcile(name)
        code = state.exit_code
        if init and init.pid != state.pid:  # a policy was faster, and this is the next life
            code = init.exit_code()
        status = ExitStatus(code, datetime.now(timezone.utc), state.pid, state.oom_killed)
        text = words.text()
        said = f"its last output: {text}" if text else "it printed nothing"
        return FailedPrecondition(f"it {how_it_ended(status)} before it was ready; {said}")

    def _undo(self, name: str) -> None:
        """Stop what could not be enabled; the error that is on its way matters more than any of this."""
        try:
            self._put_down(name, ABORT_TIMEOUT)
        except PluginExecError as error:
            log.warning("%s", error)

    def _put_down(self, name: str, timeout: float) -> None:
        """End a plugin, and take away what its life has left; its log stays."""
        files = self.store.files(name)
        if self.record(name):
            self.host.stop(name, timeout)
        files.places.clear()
        files.activated.unlink(missing_ok=True)


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
