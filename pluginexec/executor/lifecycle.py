"""The steps that take a container through containerd: start it, remove obstacles, find it again, delete it."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Set
from typing import Any

from pluginexec.cleanup.bundles import find_bundle, remove_bundle
from pluginexec.cleanup.loggers import LOGGER_TIMEOUT, end_loggers
from pluginexec.cleanup.shims import end_shim
from pluginexec.containerd.client import HUNG_SHIM, Client
from pluginexec.containerd.ctr import uninterrupted
from pluginexec.containerd.error_messages import RUNTIME_STATE_IS_STALE, container_missing, task_exists
from pluginexec.errors import AlreadyExists, FailedPrecondition, NotFound, PluginExecError, Unavailable
from pluginexec.executor.deferred_cleanup import SETTLE_PAUSE, SETTLE_TIMEOUT, DeferredCleanup
from pluginexec.executor.start_watch import StartWatch
from pluginexec.linux.cgroups import CgroupPath, cgroups_path_of, recorded_cgroup, remove_cgroups
from pluginexec.linux.pidfd import InitProcess, boot_seconds
from pluginexec.oci.recent_fields import recent_fields
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.root.root import Root
from pluginexec.streams.sinks import Sink
from pluginexec.streams.streams import Streams
from pluginexec.types import Task, TaskState

log = logging.getLogger(__name__)

ALIVE = (TaskState.RUNNING, TaskState.PAUSED)
_OBSTACLES = 4
"""What can block one start: a container, and behind it a shim, a bundle and the runtime's state."""
_ANY = ""
"""Stands for any mark, and none."""
_LEAKED_SHIM = "a shim of an earlier task of this id is left: SIGKILL it (containerd 1.6), or restart containerd"


class Lifecycle:
    """The steps for the plugins of one root in one namespace; what cannot be deleted now is kept in ``deferred``."""

    def __init__(self, client: Client, root: Root, deferred: DeferredCleanup) -> None:
        self._client = client
        self._root = root
        self._deferred = deferred

    def start(
        self, files: PluginFiles, spec: dict[str, Any], stdout: Sink, stderr: Sink, watch: StartWatch | None = None
    ) -> Streams:
        """Create and start a container, in place of a stale one of the same id; a failure leaves nothing behind.

        ``watch`` takes hold of its process meanwhile.

        Raises ``AlreadyExists`` if the id runs, and leaves that plugin as it is.
        """
        with self._deferred.creating(files.id):
            return self._start_anew(files, spec, stdout, stderr, watch)

    def warn_of_dropped(self, id: str, spec: dict[str, Any]) -> None:
        """Log the fields of a spec that ``ctr`` left out; it is asked only if there is one that it may not know."""
        asked = recent_fields(spec)
        if not asked:
            return
        try:
            kept = recent_fields(self._client.container_spec(id))
        except PluginExecError as error:  # it has ended
            log.debug("%s: cannot tell whether ctr knows %s: %s", id, ", ".join(asked), error)
            return
        if dropped := [field for field in asked if field not in kept]:
            log.warning("%s: ctr is too old for %s of its spec: it runs without", id, " and ".join(dropped))

    def _start_anew(
        self, files: PluginFiles, spec: dict[str, Any], stdout: Sink, stderr: Sink, watch: StartWatch | None
    ) -> Streams:
        if files.exist():
            # Of an earlier executor. Its FIFOs must not be touched before it is known that it does not run.
            self._remove_stale(files.id)
        for _ in range(_OBSTACLES):
            try:
                return self._start(files, spec, stdout, stderr, watch)
            except AlreadyExists as error:
                self._remove_obstacle(files.id, error)
        return self._start(files, spec, stdout, stderr, watch)

    def _start(
        self, files: PluginFiles, spec: dict[str, Any], stdout: Sink, stderr: Sink, watch: StartWatch | None
    ) -> Streams:
        streams = None
        try:
            # Anew for every try: runc writes its own error about a failed start to the plugin's stderr.
            files.make(spec)
            streams = Streams.create(files, stdout, stderr)
            self._run(files, streams, watch)
        except BaseException:
            if watch:
                watch.close()
            if streams:
                streams.discard()
            files.remove()
            raise
        self._deferred.discard(files.id)
        return streams

    def _run(self, files: PluginFiles, streams: Streams, watch: StartWatch | None) -> None:
        mark = os.urandom(8).hex()
        try:
            self._client.run(
                files.id,
                config=files.config,
                runc_root=self._root.runtime_root,
                pid_file=files.pid,
                io=streams.arguments,
                mark=mark,
                watch=watch.look if watch else None,
            )
        except AlreadyExists as error:
            if task_exists(error.message, files.id):
                error.hint = _LEAKED_SHIM
            if self._has_made_container(error, files.id) and not self._is_of_live_task(error, files.id):
                self.remove_half_made(files.id, {mark})
            raise
        except BaseException as error:
            # Without a ctr nothing was made; what a later ctr finds would belong to another program.
            if not isinstance(error, FailedPrecondition) or error.returncode is not None:
                self.remove_half_made(files.id, {mark})
            raise

    def _has_made_container(self, error: AlreadyExists, id: str) -> bool:
        """Return whether a start made the container before it met another obstacle."""
        return (
            RUNTIME_STATE_IS_STALE in error.message
            or task_exists(error.message, id)
            or find_bundle(error.message, self._client.namespace, id) is not None
        )

    def _is_of_live_task(self, error: AlreadyExists, id: str) -> bool:
        """Return whether a start met a task that may be alive; the container that it made is that task's by now.

        containerd 2.3 lets a container be deleted while its process runs, if its shim hangs at that moment.
        """
        if not task_exists(error.message, id):
            return False
        task = self._client.tasks().get(id)
        return task is not None and task.state in (*ALIVE, TaskState.UNKNOWN)

    def _remove_obstacle(self, id: str, error: AlreadyExists) -> None:
        """Remove what made a start fail with ``error``; raise ``AlreadyExists`` if it is alive."""
        if RUNTIME_STATE_IS_STALE in error.message:
            # Left by a containerd that has forgotten it.
            self._client.delete_runtime_state(id, self._root.runtime_root)
        elif task_exists(error.message, id):  # the failed start has ended its shim, unless it may be alive
            if self._is_of_live_task(error, id):
                raise error
        elif bundle := find_bundle(error.message, self._client.namespace, id):
            if not remove_bundle(bundle):
                raise error
        else:
            self._remove_stale(id)

    def _remove_stale(self, id: str) -> None:
        """Remove a container that has no task, a stopped one, or one that was never started.

        Raises ``AlreadyExists`` if it is alive, or may be. moby's executor kills it in that case.
        """
        task = self._client.tasks().get(id)
        if task and task.state in (*ALIVE, TaskState.UNKNOWN):
            raise AlreadyExists(
                f"a container of this id is {task.state.value.lower()} (pid {task.pid})",
                operation="create",
                id=id,
                hint="restore it, stop it, or choose another id",
            )
        with contextlib.suppress(NotFound):
            if task and task.state is TaskState.CREATED:
                self._client.delete_task(id, force=True)
        with contextlib.suppress(NotFound):
            self._client.delete_container(id)
        end_loggers(self._root.plugin(id))  # they block if its output was not read

    def remove_half_made(self, id: str, marks: Set[str] = frozenset({_ANY}), cgroup: str = "") -> None:
        """Remove what failed starts may have left: the container, and a task in any state.

        ``marks``, which those starts gave their containers: a container without any of them is left alone, because
        where containerd gave no answer, it may belong to another program. By default the marks do not matter.
        """

        def remove(id: str) -> None:
            if _ANY in marks or not self._client.is_unmarked(id, *sorted(marks)):
                self._remove_by_force(id)

        begun = time.monotonic()
        cgroup = cgroup or cgroups_path_of(self._root.plugin(id).read_spec())
        # Whole: a Ctrl-C between the two deletions would leave the container.
        removed = uninterrupted(
            lambda: self._deferred.delete(id, remove, lambda: self._deferred.keep_half_made(id, marks, cgroup))
        )
        if removed:
            remove_cgroups(cgroup)  # a runtime that was killed as it created the container had no state yet
        if removed and time.monotonic() - begun > LOGGER_TIMEOUT:
            end_loggers(self._root.plugin(id))

    def _remove_by_force(self, id: str) -> None:
        # A ctr that was killed does not stop containerd: the task may appear after this list was made.
        task = self._client.tasks().get(id)
        if task and task.state is not TaskState.UNKNOWN:
            with contextlib.suppress(NotFound):
                self._client.delete_task(id, force=True)
        else:  # none yet, or its shim hangs, or is busy with a start that takes too long
            self._end_shim(id)
        self._client.delete_container(id)

    def delete_ended(self, id: str) -> bool:
        """Delete the task and the container of a plugin that has ended, in one command; return whether that worked.

        A container that runs is left alone: another program has created the id anew.
        """
        return self._deferred.delete(id, self._remove_ended, lambda: self._deferred.keep(id, self.delete_later))

    def _remove_ended(self, id: str) -> None:
        begun, started = time.monotonic(), boot_seconds()
        try:
            self._client.delete_container(id)
        except NotFound as error:
            if not container_missing(error.message, id):
                raise
        if time.monotonic() - begun >= HUNG_SHIM:
            # containerd 2.3 may have deleted the container alone, because its shim hangs.
            end_shim(id, self._client.namespace, self._client.ctr.address, started_before=started)
        # containerd forgets a container though the runtime cannot, on a disk that is read-only now.
        if (self._root.runtime_root / self._client.namespace / id).exists():
            self._client.delete_runtime_state(id, self._root.runtime_root)

    def delete_later(self, id: str) -> None:
        """Delete a plugin that ended some time ago, with the shim and the loggers that may be left of it."""
        if self.delete_ended(id):
            self._end_shim(id)
            end_loggers(self._root.plugin(id))  # their reader is gone

    def delete_unfinished(self, id: str) -> None:
        """Delete a plugin that ended, and that an executor before this one could not delete."""
        if not self._root.plugin(id).exist():  # else a restore does it, and reads what is left of its output
            self.delete_later(id)

    def _end_shim(self, id: str) -> bool:
        return end_shim(id, self._client.namespace, self._client.ctr.address)

    def cgroup_of_ended(self, id: str) -> CgroupPath:
        """Return the cgroup of a plugin that has ended and is not deleted, as its runtime has recorded it."""
        return recorded_cgroup(self._root.runtime_root / self._client.namespace / id / "state.json")

    def find(self, files: PluginFiles) -> tuple[Task | None, InitProcess | None]:
        """Return the task of a plugin, and its init process if that runs.

        The proof that the pidfd is of that process: containerd reports the task as running with this pid, after the
        pidfd was opened and before it shows an end. Raises ``Unavailable`` if containerd goes on doing so while no
        pidfd of the process can be opened.
        """
        pid = files.read_pid()
        init = InitProcess.open(pid) if pid else None
        deadline = time.monotonic() + SETTLE_TIMEOUT
        try:
            while (task := self._known_task(files.id)) and task.state in ALIVE:
                if init and init.pid == task.pid and not init.has_ended():
                    return task, init
                _close(init)
                init = InitProcess.open(task.pid)
                if init is None:  # the kernel is ahead: soon containerd knows the exit code
                    if time.monotonic() > deadline:
                        raise Unavailable("cannot open a pidfd of its process", operation="restore", id=files.id)
                    time.sleep(SETTLE_PAUSE)
        except BaseException:
            _close(init)
            raise
        _close(init)
        return task, None

    def _known_task(self, id: str) -> Task | None:
        deadline = time.monotonic() + SETTLE_TIMEOUT
        while (task := self._client.tasks().get(id)) and task.state is TaskState.UNKNOWN:
            if time.monotonic() > deadline:
                raise Unavailable("its shim does not answer containerd", operation="restore", id=id)
            time.sleep(SETTLE_PAUSE)
        return task


def _close(init: InitProcess | None) -> None:
    if init:
        init.close()
