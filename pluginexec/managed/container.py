"""The container of a managed plugin that is attached to an executor of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pluginexec.errors import AlreadyExists, NotFound
from pluginexec.executor.executor import Executor
from pluginexec.linux.pidfd import InitProcess
from pluginexec.managed.activation import ABORT_TIMEOUT
from pluginexec.managed.config import PluginConfig
from pluginexec.managed.directories import PluginDirectories
from pluginexec.managed.output_tail import OutputTail
from pluginexec.types import ExitStatus


class AttachedContainer:
    """Starts the container of a plugin with an executor, any number of times; its output goes to the same sinks."""

    def __init__(
        self, executor: Executor, id: str, config: PluginConfig, directories: PluginDirectories, output: OutputTail
    ) -> None:
        self._executor = executor
        self._id = id
        self._config = config
        self._directories = directories
        self._output = output
        self._is_created = False

    def start(self, spec: dict[str, Any]) -> None:
        """Prepare the directories of the plugin, and start its container."""
        self._is_created = False
        self._directories.prepare(self._config)
        self._output.begin()
        self._executor.create(self._id, spec, self._output.stdout, self._output.stderr)
        self._is_created = True

    @contextlib.contextmanager
    def hold(self) -> Iterator[InitProcess | None]:
        """Hold the init process by a pidfd; ``None`` if it has ended."""
        init = None
        with contextlib.suppress(NotFound):
            init = InitProcess.open(self._executor.pid(self._id))
            # The pid may have been reused, but not if the plugin has not ended by now.
            if init and not self._executor.is_running(self._id):
                init.close()
                init = None
        try:
            yield init
        finally:
            if init:
                init.close()

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait until the exit was processed, ``timeout`` seconds at most, and return it."""
        return self._executor.wait(self._id, timeout)

    def exit_status(self, init: InitProcess | None) -> ExitStatus:
        """Wait until the exit was processed, and return it."""
        return self.wait()

    def last_output(self) -> str:
        """Return the end of what the plugin has printed since its start."""
        return self._output.text()

    def abort(self) -> None:
        """End what ``start`` has started, if anything, and clear the directories."""
        try:
            if self._is_created:  # else the id may be that of another plugin
                with contextlib.suppress(NotFound):
                    self._executor.stop(self._id, ABORT_TIMEOUT)
        finally:
            self._directories.clear()

    def stop(self, timeout: float) -> ExitStatus | None:
        """End the plugin, and clear its directories; return how it ended, also if that was before."""
        status: ExitStatus | None = None
        try:
            status = self._executor.stop(self._id, timeout)
        except NotFound:
            # It has ended; or the executor was closed: then `restore` raises, and the plugin is left running.
            if self.take_over():
                status = self._executor.stop(self._id, timeout)
            else:
                with contextlib.suppress(NotFound):
                    status = self._executor.exit_status(self._id)
        self._directories.clear()
        return status

    def take_over(self) -> bool:
        """Attach to a plugin of this id that another process or object has left; return whether it runs."""
        if not self._directories.exec_dir.exists():
            return False
        try:
            if self._executor.restore(self._id, self._output.stdout, self._output.stderr):
                return True
        except AlreadyExists:
            return True
        self._directories.clear()
        return False
