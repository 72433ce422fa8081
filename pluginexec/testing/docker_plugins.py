"""The factory of a test's Docker managed plugins."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable

from pluginexec.errors import PluginExecError
from pluginexec.executor.executor import Executor
from pluginexec.managed.plugin import ManagedPlugin
from pluginexec.testing.output import Output

log = logging.getLogger(__name__)

_numbers = itertools.count(1)


class DockerPluginFactory:
    """Enables Docker managed plugins for one test; the fixture ``docker_plugin``. All end with the test."""

    def __init__(self, executor: Executor, timeout: float) -> None:
        self._executor = executor
        self._timeout = timeout
        self._enabled: list[tuple[ManagedPlugin, Output]] = []

    def __call__(
        self,
        path: str | os.PathLike[str],
        *,
        settings: Iterable[str] = (),
        restart: str = "no",
        timeout: float | None = None,
    ) -> ManagedPlugin:
        """Enable a plugin, and return it once it has answered that it implements what it should.

        ``path`` is what ``docker plugin create`` takes, a directory with ``config.json`` and ``rootfs/``, or its tar;
        ``settings`` are as for ``docker plugin set``; ``restart`` is a policy, such as ``always``; ``timeout``, in
        seconds, defaults to the option ``pluginexec_timeout``. Raises as ``ManagedPlugin`` and its ``enable`` do; for a
        plugin that exits before it listens, with its exit code and its last output.
        """
        output = Output()
        plugin = ManagedPlugin(
            self._executor,
            os.path.abspath(path),
            id=f"d{os.getpid()}-{next(_numbers)}",  # short: it is part of the path of the socket
            settings=settings,
            restart=restart,
            stdout=output.stdout,
            stderr=output.stderr,
        )
        self._enabled.append((plugin, output))  # before it runs: an interrupt may come at any time
        plugin.enable(self._timeout if timeout is None else timeout)
        return plugin

    def reports(self) -> list[tuple[str, str]]:
        """Return a title for each plugin, and its state with its last output."""
        return [(f"docker plugin {plugin.id}", f"{plugin!r}\n{output.tail()}") for plugin, output in self._enabled]

    def end(self) -> None:
        """Disable and remove all of them; a failure is logged, and what remains is found as a leak."""
        for plugin, _ in self._enabled:
            try:
                plugin.remove()
            except PluginExecError as error:
                log.warning("%s", error)
