"""Plugins that a program made with this root directory, and left behind without a record."""

from __future__ import annotations

from datetime import datetime, timezone

from pluginexec.errors import NotFound
from pluginexec.host.host import Host
from pluginexec.host.records import Record, State
from pluginexec.linux.directories import names_in


def unrecorded_ids(host: Host) -> list[str]:
    """List the ids that an executor made files for, and that have no record."""
    known = set(host.records.ids())
    return [id for id in names_in(host.layout.containers) if id not in known and host.files(id).exist()]


def adopt(host: Host, id: str, address: str, namespace: str) -> State:
    """Make the record of such a plugin, and find out what became of it; ``NotFound`` if there is none."""
    spec = host.files(id).read_spec()
    if not spec:
        raise NotFound("no such plugin", id=id, hint="'pluginexec ps -a' lists all")
    process = spec.get("process") or {}
    record = Record(
        id=id,
        created_at=datetime.now(timezone.utc),
        address=address,
        namespace=namespace,
        command=list(process.get("args") or []),
        detached=not host.files(id).stdout.exists() and not host.files(id).stderr.exists(),
    )
    host.records.create(record, spec)
    try:
        return host.reconcile(id)
    except BaseException:
        host.records.remove(id)
        raise
