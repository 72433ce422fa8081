"""Plugins that a program made with an executor on this state directory: they have no record, so one is made up."""

from __future__ import annotations

import itertools
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from pluginexec.errors import FailedPrecondition, NotFound
from pluginexec.host.records import Record, Records, State, resolve_id
from pluginexec.linux import machine
from pluginexec.linux.directories import names_in
from pluginexec.linux.pidfd import start_seconds
from pluginexec.root.layout import Layout
from pluginexec.root.plugin_files import PluginFiles


class AllRecords(Records):
    """The records of a root, and what stands for them where a program made a plugin without.

    What is made up cannot be locked or changed: that is left to the program.
    """

    def all_ids(self) -> list[str]:
        """List all ids: those with a record as ``ids`` does, then the others."""
        recorded = self.ids()
        return [*recorded, *unrecorded_ids(self.layout, recorded)]

    def is_recorded(self, id: str) -> bool:
        """Return whether a plugin has a record."""
        try:
            super().record(id)
        except NotFound:
            return False
        return True

    def resolve(self, reference: str) -> str:
        """Return the id that is meant: an id, or the beginning of just one; of an exit record the whole id."""
        ids = self.all_ids()
        try:
            return resolve_id(reference, ids, self.layout)
        except NotFound:
            if reference in names_in(self.layout.containers):
                return reference
            raise

    def record(self, id: str) -> Record:
        """Return what was asked for."""
        try:
            return super().record(id)
        except NotFound:
            return program_record(self._made(id))

    def state(self, id: str) -> State:
        """Return what became of it, as far as that is known."""
        try:
            return super().state(id)
        except NotFound:
            return _program_state(self._made(id))

    def spec(self, id: str) -> dict[str, Any]:
        """Return its OCI spec."""
        try:
            return super().spec(id)
        except NotFound:
            return self._made(id).read_spec()

    def mark_stopped(self, id: str) -> None:
        """Record that a person stopped it; a program knows no restart policy."""
        if self.is_recorded(id):
            super().mark_stopped(id)

    def work_directory(self, id: str) -> Path:
        """Return a directory of the plugin for what a command needs for a while."""
        return self.directory(id) if self.is_recorded(id) else self.layout.containers / id

    def _made(self, id: str) -> PluginFiles:
        files = PluginFiles(self.layout.containers / id)
        if not files.exist() and files.read_exit() is None:
            raise NotFound("no such plugin", id=id, hint="'pluginexec ps -a' lists all")
        return files


def unrecorded_ids(layout: Layout, recorded: list[str]) -> list[str]:
    """List the ids that an executor has made files for, and that have no record."""
    others = (id for id in names_in(layout.containers) if id not in recorded)
    return [id for id in others if PluginFiles(layout.containers / id).exist()]


def supervisor(layout: Layout, id: str) -> machine.Holder | None:
    """Return the process whose executor supervises a plugin without a record, ``None`` if that is gone.

    An executor that relays holds the plugin's lock. Any other holds only that of the directory: then any process that
    does so counts.
    """
    files = PluginFiles(layout.containers / id)
    is_relayed = files.stdout.is_fifo() or files.stderr.is_fifo()
    holders = machine.lock_holders(files.attached if is_relayed else layout.lock)
    return next((holder for holder in holders if holder.pid != os.getpid()), None)


def check_output(records: AllRecords, id: str, operation: str) -> None:
    """Raise ``FailedPrecondition`` for a plugin whose output only the program has that supervises it."""
    if records.is_recorded(id):
        return
    holder = supervisor(records.layout, id)
    who = f"{holder.name} (pid {holder.pid})" if holder else "a program"
    raise FailedPrecondition(
        f"{who} started it with an executor, and has its output",
        operation=operation,
        id=id,
        hint=f"read it there; when that program is gone, 'pluginexec restore {id}' takes the plugin over",
    )


def program_record(files: PluginFiles) -> Record:
    """Return what the files and the shim of a plugin tell of what was asked for."""
    flags = _shim_flags(files) or {}
    return Record(
        id=files.id,
        created_at=_modified(files.config),
        address=flags.get("-address", ""),
        namespace=flags.get("-namespace", ""),
        command=list((files.read_spec().get("process") or {}).get("args") or []),
        log_driver="none",
        detached=not files.stdout.is_fifo() and not files.stderr.is_fifo(),
    )


def _program_state(files: PluginFiles) -> State:
    """Return the state of a plugin: it runs if its process is the child of its own shim."""
    pid = files.read_pid() or 0
    if _shim_flags(files):
        return State("running", pid, start_seconds(pid) or 0.0, started_at=_modified(files.pid))
    status = files.read_exit()
    if status is None:
        return State("exited", pid)
    return State(
        "exited", status.pid, finished_at=status.exited_at, exit_code=status.exit_code, oom_killed=status.oom_killed
    )


def _shim_flags(files: PluginFiles) -> dict[str, str] | None:
    """Return the flags of the shim whose child a plugin's process is; ``None`` if it has ended."""
    try:
        process = psutil.Process(files.read_pid() or 0)
        flags = dict(itertools.pairwise(psutil.Process(process.ppid()).cmdline()))
        is_alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return flags if is_alive and flags.get("-id") == files.id else None


def _modified(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except OSError:  # removed meanwhile
        return datetime.now(timezone.utc)
