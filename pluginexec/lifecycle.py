"""The steps that take a container through containerd: start it, clear what is in its way, find it again, delete it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from pluginexec.client import Client
from pluginexec.complaints import RUNTIME_STATE_IS_STALE, container_missing, task_exists
from pluginexec.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PluginExecError,
    Unavailable,
)
from pluginexec.pidfds import InitProcess
from pluginexec.root import PluginFiles, Root
from pluginexec.streams import Streams
from pluginexec.types import Sink, Task, TaskState

log = logging.getLogger(__name__)

ALIVE = (TaskState.RUNNING, TaskState.PAUSED)
_OBSTACLES = 2
"""What can be in the way of one start: a container, and behind it the runtime's state."""
_SETTLE_TIMEOUT = 5.0
_SETTLE_PAUSE = 0.05
_LEAKED_SHIM = "a shim of an earlier task of this id is left: SIGKILL it (containerd 1.6), or restart containerd"


class Lifecycle:
    """The steps for the plugins of one root in one namespace; it remembers what it could not delete."""

    def __init__(self, client: Client, root: Root, on_leftover: Callable[[], None]) -> None:
        self._client = client
        self._root = root
        self._on_leftover = on_leftover
        self._lock = threading.Lock()
        self._leftovers: dict[str, Callable[[str], None]] = {}

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
        return streams

    def _run(self, files: PluginFiles, streams: Streams) -> None:
        try:
            self._client.run(
                files.id,
                config=files.config,
                runc_root=self._root.runtime_root,
                pid_file=files.pid,
                io=streams.arguments,
            )
        except AlreadyExists as error:
            if _is_behind_the_container(error, files.id):
                self.remove_half_made(files.id)
            raise
        except BaseException:
            self.remove_half_made(files.id)
            raise

    def _make_way(self, id: str, error: AlreadyExists) -> None:
        """Remove what made a start fail with ``error``; raise ``AlreadyExists`` if it is alive."""
        if RUNTIME_STATE_IS_STALE in error.message:
            # Left by a containerd that has forgotten it.
            self._client.delete_runtime_state(id, self._root.runtime_root)
        elif task_exists(error.message, id):
            error.hint = _LEAKED_SHIM
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

    def remove_half_made(self, id: str) -> None:
        """Remove what a failed start may have left: the container, and a task in any state."""
        self._settle(id, self._remove_by_force, again=self.remove_half_made)

    def _remove_by_force(self, id: str) -> None:
        # A ctr that was killed does not stop containerd: the task may appear after we have looked.
        if id in self._client.tasks():
            with contextlib.suppress(NotFound):
                self._client.delete_task(id, force=True)
        self._client.delete_container(id)

    def delete_ended(self, id: str) -> None:
        """Delete the task and the container of a plugin that has ended, in one command.

        A container that runs is left alone: somebody has created the id anew.
        """
        self._settle(id, self._client.delete_container, again=self.delete_ended)

    def _settle(self, id: str, remove: Callable[[str], None], *, again: Callable[[str], None]) -> None:
        """Call ``remove`` until containerd is ready for it; log what does not go, and keep it for a retry."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while True:
            try:
                remove(id)
            except PluginExecError as error:
                if isinstance(error, NotFound) and container_missing(error.message, id):
                    return
                # The kernel can be ahead of the shim, containerd of a ctr that was killed, and a ctr that was attached
                # may delete the task under our hands: only a state passes.
                passing = isinstance(error, (FailedPrecondition, NotFound)) and error.returncode
                if passing and time.monotonic() < deadline:
                    time.sleep(_SETTLE_PAUSE)
                    continue
                log.warning("a container may be left behind: %s", error)
                if isinstance(error, (Unavailable, DeadlineExceeded)):
                    with self._lock:
                        self._leftovers[id] = again
                    self._on_leftover()
            return

    def retry_leftovers(self, free: Callable[[str], contextlib.AbstractContextManager[bool]]) -> None:
        """Delete what could not be deleted while containerd was away; ``free`` reserves an id, if it is free."""
        with self._lock:
            leftovers, self._leftovers = self._leftovers, {}
        for id, again in leftovers.items():
            # An id that is in use again was found stale and cleared by its create.
            with free(id) as is_free:
                if is_free:
                    again(id)

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


def _is_behind_the_container(error: AlreadyExists, id: str) -> bool:
    """Tell whether a start got as far as to make the container before something else was in its way."""
    return RUNTIME_STATE_IS_STALE in error.message or task_exists(error.message, id)


def _close(init: InitProcess | None) -> None:
    if init:
        init.close()
