"""The steps that take a container through containerd: start it, clear what is in its way, find it again, delete it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from pluginexec.cleanup.bundles import find_bundle, remove_bundle
from pluginexec.cleanup.loggers import LOGGER_TIMEOUT, end_loggers
from pluginexec.containerd.client import Client
from pluginexec.containerd.ctr import uninterrupted
from pluginexec.containerd.error_messages import RUNTIME_STATE_IS_STALE, container_missing, container_runs, task_exists
from pluginexec.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PluginExecError,
    Unavailable,
)
from pluginexec.linux.pidfd import InitProcess
from pluginexec.root import PluginFiles, Root
from pluginexec.streams.streams import Streams
from pluginexec.types import Sink, Task, TaskState

log = logging.getLogger(__name__)

ALIVE = (TaskState.RUNNING, TaskState.PAUSED)
_OBSTACLES = 4
"""What can be in the way of one start: a container, and behind it a shim, a bundle and the runtime's state."""
_SETTLE_TIMEOUT = 5.0
_SETTLE_PAUSE = 0.05
_ANY = ""
"""Stands for any mark, and none."""
_LEAKED_SHIM = "a shim of an earlier task of this id is left: SIGKILL it (containerd 1.6), or restart containerd"


class Lifecycle:
    """The steps for the plugins of one root in one namespace; it remembers what it could not delete."""

    def __init__(self, client: Client, root: Root, on_leftover: Callable[[], None]) -> None:
        self._client = client
        self._root = root
        self._on_leftover = on_leftover
        self._lock = threading.Lock()
        # Of one id both can be left: a plugin that ended, and what starts that failed after it may have made.
        self._leftovers: dict[str, Callable[[str], None]] = {}
        self._half_made: dict[str, set[str]] = {}
        self._complained: set[str] = set()

    def start(self, files: PluginFiles, spec: dict[str, Any], stdout: Sink, stderr: Sink) -> Streams:
        """Create and start a container, in place of a stale one of the same id; a failure leaves nothing of it.

        Raises ``AlreadyExists`` if the id runs, and leaves that plugin as it is.
        """
        if files.exist():
            # Of an earlier executor. Its FIFOs must not be touched before we know that it does not run.
            self._remove_stale(files.id)
        for _ in range(_OBSTACLES):
            try:
                return self._start(files, spec, stdout, stderr)
            except AlreadyExists as error:
                self._make_way(files.id, error)
        return self._start(files, spec, stdout, stderr)

    def _start(self, files: PluginFiles, spec: dict[str, Any], stdout: Sink, stderr: Sink) -> Streams:
        streams = None
        try:
            # Afresh for every try: runc writes its own complaint about a failed start to the plugin's stderr.
            files.make(spec)
            streams = Streams.create(files, stdout, stderr)
            self._run(files, streams)
        except BaseException:
            if streams:
                streams.discard()
            files.remove()
            raise
        with self._lock:
            # Found stale, and cleared.
            self._leftovers.pop(files.id, None)
            self._half_made.pop(files.id, None)
        return streams

    def _run(self, files: PluginFiles, streams: Streams) -> None:
        mark = os.urandom(8).hex()
        try:
            self._client.run(
                files.id,
                config=files.config,
                runc_root=self._root.runtime_root,
                pid_file=files.pid,
                io=streams.arguments,
                mark=mark,
            )
        except AlreadyExists as error:
            if self._is_behind_the_container(error, files.id):
                self._remove_half_made(files.id, {mark})
            raise
        except BaseException as error:
            # Where there is no ctr, nothing was made; what is found once there is one would be somebody else's.
            if not isinstance(error, FailedPrecondition) or error.returncode is not None:
                self._remove_half_made(files.id, {mark})
            raise

    def _is_behind_the_container(self, error: AlreadyExists, id: str) -> bool:
        """Tell whether a start got as far as to make the container before something else was in its way."""
        return (
            RUNTIME_STATE_IS_STALE in error.message
            or task_exists(error.message, id)
            or find_bundle(error.message, self._client.namespace, id) is not None
        )

    def _make_way(self, id: str, error: AlreadyExists) -> None:
        """Remove what made a start fail with ``error``; raise ``AlreadyExists`` if it is alive."""
        if RUNTIME_STATE_IS_STALE in error.message:
            # Left by a containerd that has forgotten it.
            self._client.delete_runtime_state(id, self._root.runtime_root)
        elif task_exists(error.message, id):
            error.hint = _LEAKED_SHIM
            if id in self._client.tasks() or not self._client.end_shim(id):
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
        end_loggers(self._root.plugin(id))  # they block where nobody has read what it printed

    def remove_half_made(self, id: str) -> None:
        """Remove what a start that is not ours has left: the container, and a task in any state."""
        self._remove_half_made(id, {_ANY})

    def _remove_half_made(self, id: str, marks: set[str]) -> None:
        """Remove what failed starts may have left: the container, and a task in any state.

        ``marks``, which those starts gave their containers: one without any is left alone, because where containerd
        gave no answer, nobody knows yet whether the id was somebody else's.
        """

        def remove(id: str) -> None:
            if _ANY in marks or not self._client.is_unmarked(id, *sorted(marks)):
                self._remove_by_force(id)

        def keep() -> None:
            with self._lock:
                self._half_made.setdefault(id, set()).update(marks)
            self._on_leftover()

        begun = time.monotonic()
        # Whole: a Ctrl-C between the two deletions would leave the container.
        removed = uninterrupted(lambda: self._settle(id, remove, keep))
        if removed and time.monotonic() - begun > LOGGER_TIMEOUT:
            end_loggers(self._root.plugin(id))

    def _remove_by_force(self, id: str) -> None:
        # A ctr that was killed does not stop containerd: the task may appear after we have looked.
        if id in self._client.tasks():
            with contextlib.suppress(NotFound):
                self._client.delete_task(id, force=True)
        else:
            self._client.end_shim(id)
        self._client.delete_container(id)

    def delete_ended(self, id: str) -> bool:
        """Delete the task and the container of a plugin that has ended, in one command; return whether that worked.

        A container that runs is left alone: somebody has created the id anew.
        """
        return self._settle(id, self._remove_ended, lambda: self.finish_later(id, self._delete_later))

    def _remove_ended(self, id: str) -> None:
        try:
            self._client.delete_container(id)
        except NotFound as error:
            if not container_missing(error.message, id):
                raise
        # containerd forgets a container though the runtime cannot, on a disk that is read-only now.
        if (self._root.runtime_root / self._client.namespace / id).exists():
            self._client.delete_runtime_state(id, self._root.runtime_root)

    def _delete_later(self, id: str) -> None:
        if self.delete_ended(id):
            self._client.end_shim(id)
            end_loggers(self._root.plugin(id))  # nobody reads any more

    def _settle(self, id: str, remove: Callable[[str], None], keep: Callable[[], None]) -> bool:
        """Call ``remove`` until containerd is ready for it; log what does not go, and ``keep`` it for a retry.

        Returns whether it is gone.
        """
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while True:
            try:
                remove(id)
            except PluginExecError as error:
                if isinstance(error, NotFound) and container_missing(error.message, id):
                    break
                # The kernel can be ahead of the shim, containerd of a ctr that was killed, and somebody else may delete
                # the task under our hands: only a state passes.
                passing = isinstance(error, (FailedPrecondition, NotFound)) and error.returncode
                if passing and time.monotonic() < deadline:
                    time.sleep(_SETTLE_PAUSE)
                    continue
                self._complain(id, error)
                # Whatever is wrong with containerd or ctr may pass; a container that runs is somebody else's by now.
                if not container_runs(error.message):
                    keep()
                return False
            break
        self._complained.discard(id)
        return True

    def _complain(self, id: str, error: PluginExecError) -> None:
        """Log the first failure of each id; one that is tried for an hour is one line, not hundreds."""
        log.log(
            logging.DEBUG if id in self._complained else logging.WARNING, "a container may be left behind: %s", error
        )
        self._complained.add(id)

    def finish_later(self, id: str, again: Callable[[str], None]) -> None:
        """Have ``again`` called when some time has passed, while nobody uses the id, unless it is created anew."""
        with self._lock:
            self._leftovers[id] = again
        self._on_leftover()

    def retry_leftovers(self, free: Callable[[str], contextlib.AbstractContextManager[bool]]) -> None:
        """Delete what could not be deleted while containerd was away; ``free`` reserves an id, if it is free."""
        with self._lock:
            ids = [*self._half_made, *self._leftovers]
        for id in dict.fromkeys(ids):
            with free(id) as is_free:
                if is_free:
                    with self._lock:
                        marks, again = self._half_made.pop(id, None), self._leftovers.pop(id, None)
                    if marks:
                        self._remove_half_made(id, marks)
                    if again:
                        again(id)
                else:
                    # It is not yet done with; or it is being created anew, which clears the way itself.
                    self._on_leftover()

    def find(self, files: PluginFiles) -> tuple[Task | None, InitProcess | None]:
        """Return the task of a plugin, and its init process if that is alive.

        The proof that the pidfd is of that process: containerd says that the task is alive with this pid, after the
        pidfd was opened and before it shows an end. Raises ``Unavailable`` if containerd goes on saying so of a
        process that cannot be held.
        """
        pid = files.read_pid()
        init = InitProcess.open(pid) if pid else None
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        try:
            while (task := self._known_task(files.id)) and task.state in ALIVE:
                if init and init.pid == task.pid and not init.has_ended():
                    return task, init
                _close(init)
                init = InitProcess.open(task.pid)
                if init is None:  # the kernel is ahead: soon containerd knows the exit code
                    if time.monotonic() > deadline:
                        raise Unavailable("its process cannot be held", operation="restore", id=files.id)
                    time.sleep(_SETTLE_PAUSE)
        except BaseException:
            _close(init)
            raise
        _close(init)
        return task, None

    def _known_task(self, id: str) -> Task | None:
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while (task := self._client.tasks().get(id)) and task.state is TaskState.UNKNOWN:
            if time.monotonic() > deadline:
                raise Unavailable("its shim gives containerd no answer", operation="restore", id=id)
            time.sleep(_SETTLE_PAUSE)
        return task


def _close(init: InitProcess | None) -> None:
    if init:
        init.close()
