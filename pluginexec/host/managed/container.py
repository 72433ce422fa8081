"""The container of a managed plugin of a root, which runs in the background."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime, timezone
from typing import Any

from pluginexec.daemon.private import ensure_running
from pluginexec.errors import AlreadyExists
from pluginexec.host.host import WORK_TIMEOUT, Host
from pluginexec.host.logs.drivers import detached_sinks
from pluginexec.host.managed.files import LABEL, managed_record
from pluginexec.host.managed.store import ManagedStore
from pluginexec.host.records import Record
from pluginexec.linux.pidfd import InitProcess
from pluginexec.managed.activation import ABORT_TIMEOUT
from pluginexec.managed.output_tail import OutputTail
from pluginexec.types import ExitStatus


def stop_and_clear(host: Host, store: ManagedStore, name: str, timeout: float) -> None:
    """End a plugin, and remove what it has left; its log stays."""
    files = store.files(name)
    if managed_record(host.records, name):
        host.stop(name, timeout)
    files.directories.clear()
    files.activated.unlink(missing_ok=True)


class DetachedContainer:
    """Starts the container of a plugin from its record; its output goes to its log.

    A new record has the ``namespace``, and the containerd at ``address`` or, if none runs there, the private one.
    """

    def __init__(self, host: Host, store: ManagedStore, name: str, address: str | None, namespace: str) -> None:
        self._host = host
        self._store = store
        self._name = name
        self._address = address
        self._namespace = namespace
        self._output: OutputTail | None = None

    def start(self, spec: dict[str, Any]) -> None:
        """Write the record, prepare the directories of the plugin, and start its container."""
        self._store.files(self._name).activated.unlink(missing_ok=True)
        self._write_record(spec)
        self._output = self._open_output()
        self._output.begin()
        self._host.start(self._name)

    def hold(self) -> AbstractContextManager[InitProcess | None]:
        """Hold the init process by a pidfd; ``None`` if it has ended."""
        return self._host.held(self._name)

    def exit_status(self, init: InitProcess | None) -> ExitStatus:
        """Wait until the exit was processed, and return it."""
        state = self._host.reconcile(self._name)
        code = state.exit_code
        if init and init.pid != state.pid:  # `serve` has restarted it already
            code = init.exit_code()
        return ExitStatus(code, datetime.now(timezone.utc), state.pid, state.oom_killed)

    def last_output(self) -> str:
        """Return the end of what the plugin has printed since its start, or of its log if it was started before."""
        return (self._output or self._open_output()).text()

    def abort(self) -> None:
        """End what ``start`` has started, if anything, and clear the directories."""
        stop_and_clear(self._host, self._store, self._name, ABORT_TIMEOUT)

    def _open_output(self) -> OutputTail:
        records = self._host.records
        return OutputTail(*detached_sinks(records.record(self._name), records.directory(self._name)))

    def _write_record(self, spec: dict[str, Any]) -> None:
        name, records = self._name, self._host.records
        record = self._new_record(list(spec["process"]["args"]))
        if managed_record(records, name):
            with records.lock(name, WORK_TIMEOUT):
                records.renew(record, spec)
            return
        try:
            records.create(record, spec)
        except AlreadyExists as error:
            hint = f"'pluginexec rm {name}' removes that one"
            raise AlreadyExists("this id belongs to a plugin that is not managed", hint=hint) from error

    def _new_record(self, command: list[str]) -> Record:
        managed, before = self._store.managed(self._name), managed_record(self._host.records, self._name)
        return Record(
            id=self._name,
            created_at=before.created_at if before else datetime.now(timezone.utc),
            address=ensure_running(self._address, self._host.layout, self._host.timeout).address,
            namespace=self._namespace,
            command=command,
            labels={LABEL: self._name},
            log_driver=managed.log_driver,
            log_opts=managed.log_opts,
            # A plugin that a person has disabled stays disabled, also when `serve` starts.
            restart="unless-stopped" if managed.restart == "always" else managed.restart,
        )
