"""Plugins that a program made with this state directory, and left behind without a record."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from pluginexec.errors import FailedPrecondition, NotFound
from pluginexec.host.host import Host
from pluginexec.host.programs import program_record, supervisor
from pluginexec.host.records import Record, State

_DEFAULT_DRIVER = Record.log_driver


def adopt(host: Host, id: str, address: str, namespace: str) -> State:
    """Make the record of such a plugin, and find out what became of it; ``NotFound`` if there is none.

    ``address`` and ``namespace`` are for one that does not run. Raises ``FailedPrecondition`` while a program
    supervises it.
    """
    files = host.files(id)
    spec = files.read_spec()
    if not spec:
        raise NotFound("no such plugin", id=id, hint="'pluginexec ps -a' lists all")
    holder = supervisor(host.layout, id)
    if holder:
        raise FailedPrecondition(f"{holder.name} (pid {holder.pid}) supervises it", operation="restore", id=id)
    known = program_record(files)
    record = replace(
        known,
        created_at=datetime.now(timezone.utc),
        address=known.address or address,
        namespace=known.namespace or namespace,
        log_driver=_DEFAULT_DRIVER,
    )
    host.records.create(record, spec)
    try:
        return host.reconcile(id)
    except BaseException:
        host.records.remove(id)
        raise
