"""The executors of ``pluginexec serve``: one for each containerd, namespace and runtime that its plugins name."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pluginexec.containerd.remote import DEFAULT_TIMEOUT, Remote
from pluginexec.executor.executor import Executor
from pluginexec.host.records import Record
from pluginexec.root.layout import Layout
from pluginexec.types import ExitStatus

STARTS_AT_ONCE = 8
"""How many plugins may be looked for or started at the same time: each takes some processes of ``ctr``."""

_Key = tuple[str, str, str | None]


class Executors:
    """Executors that share the root; ``on_exit`` is called with the id of each plugin that has ended.

    ``timeout``: seconds that one command to containerd may take.
    """

    def __init__(self, layout: Layout, on_exit: Callable[[str], None], timeout: float = DEFAULT_TIMEOUT) -> None:
        self._layout = layout
        self._on_exit = on_exit
        self._timeout = timeout
        self._lock = threading.Lock()
        self._executors: dict[_Key, Executor] = {}
        self.turns = threading.BoundedSemaphore(STARTS_AT_ONCE)
        self.closed = threading.Event()
        """Set when all executors are closed."""

    def of(self, record: Record) -> Executor:
        """Return the executor for a plugin; it is made if there is none yet."""
        key = (record.address, record.namespace, record.runtime)
        with self._lock:  # making one runs no command
            if key not in self._executors:
                remote = Remote(record.address, runtime=record.runtime, timeout=self._timeout)
                self._layout.make()
                self._executors[key] = Executor(
                    self._layout.state, remote, self, namespace=record.namespace, shared=True
                )
            return self._executors[key]

    def handle_exit_event(self, id: str, status: ExitStatus) -> None:
        """Pass on that a plugin has exited; the executor knows how."""
        self._on_exit(id)

    def close(self) -> None:
        """Let go of all plugins; they go on."""
        with self._lock:
            executors = list(self._executors.values())
        for executor in executors:
            executor.close()
        self.closed.set()
