"""Enable a plugin: start its container, wait for its socket, and call ``Plugin.Activate``."""

from __future__ import annotations

import contextlib
import logging
import select
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pluginexec.errors import FailedPrecondition, PluginExecError, Unavailable
from pluginexec.linux.pidfd import InitProcess
from pluginexec.managed.client import Ended, activate, wait_for_socket
from pluginexec.managed.config import PluginConfig
from pluginexec.managed.directories import PluginDirectories
from pluginexec.managed.settings import Settings
from pluginexec.managed.spec import init_spec
from pluginexec.types import ExitStatus

log = logging.getLogger(__name__)

STOP_TIMEOUT = 10.0
"""Seconds from SIGTERM to SIGKILL, as in docker."""
ABORT_TIMEOUT = 2.0
"""The same for a plugin that never answered: it holds no data yet."""


class PluginContainer(Protocol):
    """The container of a plugin, attached to this process or in the background."""

    def start(self, spec: dict[str, Any]) -> None:
        """Prepare the directories of the plugin, and start its container."""

    def hold(self) -> AbstractContextManager[InitProcess | None]:
        """Hold the init process by a pidfd; ``None`` if it has ended."""

    def exit_status(self, init: InitProcess | None) -> ExitStatus:
        """Wait until the exit was processed, and return it; ``init`` is what ``hold`` returned."""

    def last_output(self) -> str:
        """Return the end of what the plugin has printed since its start."""

    def abort(self) -> None:
        """End what ``start`` has started, if anything, and clear the directories."""


class PluginRunner:
    """Starts a plugin and waits until it answers; a failure leaves nothing of it.

    ``hint``, if given, is the hint of an error that concerns a started plugin.
    """

    def __init__(
        self,
        container: PluginContainer,
        id: str,
        config: PluginConfig,
        rootfs: Path,
        directories: PluginDirectories,
        *,
        hint: str | None = None,
    ) -> None:
        self._container = container
        self._id = id
        self._config = config
        self._rootfs = rootfs
        self._directories = directories
        self._hint = hint

    def start(self, settings: Settings, timeout: float, cancel: int | None = None) -> list[str]:
        """Start the plugin, and return what it implements.

        ``cancel`` is a descriptor that becomes readable when the plugin is not wanted after all.
        """
        with self._aborting():
            spec = init_spec(
                self._config,
                settings,
                id=self._id,
                rootfs=self._rootfs,
                exec_dir=self._directories.exec_dir,
                propagated_mount=self._directories.propagated_mount,
            )
            self._container.start(spec)
            return self._activate(timeout, cancel)

    def activate(self, timeout: float) -> list[str]:
        """Return what a plugin implements that was started before."""
        with self._aborting():
            return self._activate(timeout, None)

    def abort(self) -> None:
        """End the plugin after a failure; if that fails too, only log it, for the first error matters more."""
        try:
            self._container.abort()
        except PluginExecError as error:
            log.warning("%s", error)

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise

    def _activate(self, timeout: float, cancel: int | None) -> list[str]:
        try:
            return self._wait_for_answer(timeout, cancel)
        except PluginExecError as error:
            error.hint = error.hint or self._hint
            raise

    def _wait_for_answer(self, timeout: float, cancel: int | None) -> list[str]:
        deadline = time.monotonic() + timeout
        socket = self._directories.socket(self._config)
        with self._container.hold() as init:
            try:
                if init is None:
                    raise Ended("it ended before it listened")
                with _either(init.pidfd, cancel) as ended:
                    wait_for_socket(socket, timeout=timeout, ended=ended)
                return activate(socket, self._config, max(0.001, deadline - time.monotonic()))
            except (Ended, Unavailable) as error:
                if init and not init.has_ended():
                    raise
                raise self._exit_error(init) from error

    def _exit_error(self, init: InitProcess | None) -> PluginExecError:
        """Wait until the exit was processed, and return the error that reports it."""
        status = self._container.exit_status(init)
        text = self._container.last_output()
        output = f"its last output: {text}" if text else "it printed nothing"
        return FailedPrecondition(f"it {how_it_ended(status)} before it was ready; {output}")


def how_it_ended(status: ExitStatus) -> str:
    """Return the verb, and what is known of the exit."""
    if status.exit_code is None:
        return "ended with an unknown exit code"
    return f"ended with exit code {status.exit_code}" + (" (out of memory)" if status.oom_killed else "")


@contextlib.contextmanager
def _either(descriptor: int, other: int | None) -> Iterator[int]:
    """Yield a descriptor that is readable once either of two is."""
    with contextlib.closing(select.epoll()) as epoll:
        for each in (descriptor, other):
            if each is not None:
                epoll.register(each, select.EPOLLIN)
        yield epoll.fileno()
