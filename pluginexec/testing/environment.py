"""The executor of one test, from its set-up until nothing is left of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from pluginexec.daemon.cleanup import delete_container, kill_trees
from pluginexec.errors import PluginExecError
from pluginexec.executor.executor import EXIT_TIMEOUT, Executor
from pluginexec.linux.mounts import mount_points_below
from pluginexec.managed.directories import unmount_below
from pluginexec.testing.cleanup import end_plugins, namespace_of, remove_tree
from pluginexec.testing.daemons import Daemon
from pluginexec.testing.docker_plugins import DockerPluginFactory
from pluginexec.testing.factory import PluginFactory
from pluginexec.testing.handle import Runtime
from pluginexec.testing.leaks import described, fifos_below, remaining, shims_of, threads_beyond

_BACK_WITHIN = 5.0
"""Seconds in which a containerd is back that the test has killed."""


class Life:
    """An executor for one test: ``end`` it with the fixture, then, after all fixtures, ``check`` what is left.

    What the test created through the executor, and only left running, is ended and no leak. What outlives that is: a
    container, a shim, a mount or a FIFO in the executor's root, a thread.
    """

    def __init__(self, daemon: Daemon, root: Path, timeout: float, busybox: Callable[[], Path]) -> None:
        self._remote = daemon.remote
        self._root = root
        self._namespace = namespace_of(root)
        # All that a daemon of ours alone runs is ours; of another one, what is in our namespaces.
        self._ours = "" if daemon.alone else root.parent.name
        # By their ids: what was there before may be started again meanwhile.
        self._others = set(shims_of(daemon.address, self._ours).values())
        self._threads = threading.enumerate()
        self.executor = Executor(root, daemon.remote, namespace=self._namespace)
        runtime = Runtime(daemon.remote.runtime, root / "runtime-root" / self._namespace, root)
        self.plugins = PluginFactory(self.executor, self._namespace, runtime, timeout, busybox)
        self.docker_plugins = DockerPluginFactory(self.executor, timeout)

    def reports(self) -> list[tuple[str, str]]:
        """Return of each plugin a title, and how it is or ended with what it printed last."""
        managed = self.docker_plugins
        return [(f"plugin {handle.id}", handle.report()) for handle in self.plugins.handles] + managed.reports()

    def end(self) -> None:
        """End the plugins of the executor, and close it."""
        self.docker_plugins.end()
        ids = [path.parent.name for path in self._root.glob("containers/*/config.json")]
        for id in ids:
            with contextlib.suppress(PluginExecError):
                self.executor.signal(id, "KILL")
        for id in ids:
            with contextlib.suppress(PluginExecError):
                self.executor.wait(id, EXIT_TIMEOUT)
        for handle in self.plugins.handles:
            _ = handle.exit_status  # it is remembered, for the report
        self.executor.close()

    def check(self, *others: Path) -> list[str]:
        """Return what is left, a line each, and end that too; ``others`` are directories without mounts as well."""
        remaining(lambda: not self._remote.listens(), _BACK_WITHIN)
        left = [*self._containers(), *self._lone_shims(), *self._mounts(*others)]
        left += [f"FIFO {path}" for path in fifos_below(self._root)]
        left += [described(thread) for thread in remaining(lambda: threads_beyond(self._threads))]
        remove_tree(self._root)
        return left

    def _containers(self) -> list[str]:
        """End the containers that are left: those in our namespace, and those elsewhere whose shim is ours."""
        client = self._remote.new_client(self._namespace)
        found = []
        try:
            client.delete_namespace()
        except PluginExecError:  # it is not empty; or else that is told now
            tasks = client.tasks()
            for id in sorted({*tasks, *client.containers()}):
                state = tasks[id].state.value.lower() if id in tasks else "without a task"
                found.append(f"container {id} (namespace {self._namespace}), {state}")
            end_plugins(self._root, self._remote, self._namespace)
        for namespace, id in remaining(lambda: list(self._new_shims().values())):
            client = self._remote.new_client(namespace)
            if id in client.containers():
                found.append(f"container {id} (namespace {namespace})")
                delete_container(client, id, has_task=True)
        return found

    def _lone_shims(self) -> list[str]:
        left = remaining(lambda: list(self._new_shims().items()))
        kill_trees(lambda: [shim for shim, _ in left if shim.is_running()])
        return [f"shim of {id} (namespace {namespace}), pid {shim.pid}" for shim, (namespace, id) in left]

    def _new_shims(self) -> dict[psutil.Process, tuple[str, str]]:
        found = shims_of(self._remote.address, self._ours)
        return {shim: place for shim, place in found.items() if place not in self._others}

    def _mounts(self, *others: Path) -> list[str]:
        left = []
        for directory in (self._root, *others):
            left += [f"mount {point}" for point in mount_points_below(directory)]
            unmount_below(directory)
        return left
