"""The executor of one test, from its set-up until nothing of it is left."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from pluginexec.daemon.cleanup import delete_container, kill_trees
from pluginexec.errors import PluginExecError
from pluginexec.executor.executor import EXIT_TIMEOUT, Executor
from pluginexec.linux.forks import Maker
from pluginexec.linux.mounts import mount_points_below, unmount_below
from pluginexec.root.layout import Layout
from pluginexec.testing.cleanup import end_plugins, namespace_of, remove_tree
from pluginexec.testing.daemons import Daemon
from pluginexec.testing.docker_plugins import DockerPluginFactory
from pluginexec.testing.factory import PluginFactory
from pluginexec.testing.handle import Runtime
from pluginexec.testing.leaks import describe, fifos_below, new_threads, remaining, shims_of

_BACK_WITHIN = 5.0
"""Seconds in which a containerd that the test killed is running again."""


class Environment:
    """An executor for one test: ``end`` it with the fixture and, after all fixtures, ``check`` what is left.

    Plugins that the test left running are ended, and are no leak. What outlives that is one: a container, a shim, a
    mount or a FIFO in the executor's root, a thread.
    """

    def __init__(self, daemon: Daemon, root: Path, timeout: float, busybox: Callable[[], Path]) -> None:
        self._maker = Maker()
        self._remote = daemon.remote
        self._root = root
        self._namespace = namespace_of(root)
        # Of an exclusive daemon everything belongs to this process; of a shared one, what is in these namespaces.
        self._prefix = "" if daemon.exclusive else root.parent.name
        # By their ids: what was there before may be started again in the meantime.
        self._others = set(shims_of(daemon.address, self._prefix).values())
        self._threads = threading.enumerate()
        self.executor = Executor(root, daemon.remote, namespace=self._namespace)
        layout = self._layout = Layout(root, root)
        runtime = Runtime(daemon.remote.runtime, layout.runtime_root / self._namespace, root)
        self.plugins = PluginFactory(self.executor, self._namespace, runtime, timeout, busybox)
        self.docker_plugins = DockerPluginFactory(self.executor, timeout)

    def reports(self) -> list[tuple[str, str]]:
        """Return a title for each plugin, and its state with its last output."""
        managed = self.docker_plugins
        return [(f"plugin {handle.id}", handle.report()) for handle in self.plugins.handles] + managed.reports()

    def end(self) -> None:
        """End the plugins of the executor, and close it; in a forked child, nothing."""
        if not self._maker.is_this_process():
            return
        self.docker_plugins.end()
        ids = [path.parent.name for path in self._layout.containers.glob("*/config.json")]
        for id in ids:
            with contextlib.suppress(PluginExecError):
                self.executor.signal(id, "KILL")
        for id in ids:
            with contextlib.suppress(PluginExecError):
                self.executor.wait(id, EXIT_TIMEOUT)
        for handle in self.plugins.handles:
            _ = handle.exit_status  # remembered for the report
        self.executor.close()

    def check(self, *others: Path) -> list[str]:
        """Return what is left, one line each, and end it; mounts below the directories ``others`` count too."""
        if not self._maker.is_this_process():
            return []
        remaining(lambda: not self._remote.listens(), _BACK_WITHIN)
        left = [*self._containers(), *self._lone_shims(), *self._mounts(*others)]
        left += [f"FIFO {path}" for path in fifos_below(self._root)]
        left += [describe(thread) for thread in remaining(lambda: new_threads(self._threads))]
        remove_tree(self._root)
        return left

    def _containers(self) -> list[str]:
        """End the containers that are left: those in the executor's namespace, and those elsewhere with a new shim."""
        client = self._remote.new_client(self._namespace)
        left = []
        try:
            client.delete_namespace()
        except PluginExecError:  # it is not empty; any other error is raised by the next call
            tasks = client.tasks()
            for id in sorted({*tasks, *client.containers()}):
                state = tasks[id].state.value.lower() if id in tasks else "without a task"
                left.append(f"container {id} (namespace {self._namespace}), {state}")
            end_plugins(self._root, self._remote, self._namespace)
        for namespace, id in remaining(lambda: list(self._new_shims().values())):
            client = self._remote.new_client(namespace)
            if id in client.containers():
                left.append(f"container {id} (namespace {namespace})")
                delete_container(client, id, has_task=True)
        return left

    def _lone_shims(self) -> list[str]:
        left = remaining(lambda: list(self._new_shims().items()))
        kill_trees(lambda: [shim for shim, _ in left if shim.is_running()])
        return [f"shim of {id} (namespace {namespace}), pid {shim.pid}" for shim, (namespace, id) in left]

    def _new_shims(self) -> dict[psutil.Process, tuple[str, str]]:
        shims = shims_of(self._remote.address, self._prefix)
        return {shim: names for shim, names in shims.items() if names not in self._others}

    def _mounts(self, *others: Path) -> list[str]:
        left = []
        for directory in (self._root, *others):
            left += [f"mount {point}" for point in mount_points_below(directory)]
            unmount_below(directory)
        return left
