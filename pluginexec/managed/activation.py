"""The lives of one plugin: each from the making of its directories to its answer on the socket, and to its end."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator
from pathlib import Path

from pluginexec.errors import AlreadyExists, FailedPrecondition, NotFound, PluginExecError, Unavailable
from pluginexec.executor.executor import Executor
from pluginexec.linux.pidfd import InitProcess
from pluginexec.managed.client import Ended, activate, wait_for_socket
from pluginexec.managed.config import PluginConfig
from pluginexec.managed.directories import PluginDirectories
from pluginexec.managed.output_tail import OutputTail
from pluginexec.managed.settings import Settings
from pluginexec.managed.spec import init_spec
from pluginexec.types import ExitStatus

STOP_TIMEOUT = 10.0
"""Seconds from SIGTERM to SIGKILL, as docker's."""
ABORT_TIMEOUT = 2.0
"""The same for a plugin that never answered: nothing was entrusted to it yet."""


class PluginRunner:
    """Starts a plugin, again and again, one life at a time."""

    def __init__(
        self,
        executor: Executor,
        id: str,
        config: PluginConfig,
        rootfs: Path,
        places: PluginDirectories,
        words: OutputTail,
    ) -> None:
        self._executor = executor
        self._id = id
        self._config = config
        self._rootfs = rootfs
        self._directories = places
        self._words = words

    @property
    def socket(self) -> Path:
        """Where the plugin listens."""
        return self._directories.exec_dir / self._config.socket

    def start(self, settings: Settings, timeout: float, cancel: int | None = None) -> list[str]:
        """Start the plugin, and return what it implements; a failure leaves nothing of it.

        ``cancel`` is a descriptor that is readable once nobody wants it any more.
        """
        spec = init_spec(
            self._config,
            settings,
            id=self._id,
            rootfs=self._rootfs,
            exec_dir=self._directories.exec_dir,
            propagated_mount=self._directories.propagated_mount,
        )
        self._directories.prepare(self._config)
        try:
            self._words.begin()
            self._executor.create(self._id, spec, self._words.stdout, self._words.stderr)
            return self._greeted(timeout, cancel)
        except BaseException:
            self._directories.clear()
            raise

    def stop(self, timeout: float) -> ExitStatus | None:
        """End the plugin, and clear its directories; return how it ended, also where that was before."""
        status: ExitStatus | None = None
        try:
            status = self._executor.stop(self._id, timeout)
        except NotFound:
            # It has ended; or the executor was closed, which says so now, and leaves it running.
            if self.take_over():
                status = self._executor.stop(self._id, timeout)
            else:
                with contextlib.suppress(NotFound):
                    status = self._executor.exit_status(self._id)
        self._directories.clear()
        return status

    def take_over(self) -> bool:
        """Look for a life that somebody else has left; return whether it goes on, and is the executor's now."""
        if not self._directories.exec_dir.exists():
            return False
        try:
            if self._executor.restore(self._id, self._words.stdout, self._words.stderr):
                return True
        except AlreadyExists:
            return True
        self._directories.clear()
        return False

    def _greeted(self, timeout: float, cancel: int | None) -> list[str]:
        deadline = time.monotonic() + timeout
        try:
            with held(self._executor, self._id) as init:
                if init is None:
                    raise self._death()
                try:
                    with _any_of(init.pidfd, cancel) as ended:
                        wait_for_socket(self.socket, timeout=timeout, ended=ended)
                    return activate(self.socket, self._config, max(0.001, deadline - time.monotonic()))
                except (Ended, Unavailable) as error:
                    if init.has_ended():
                        raise self._death() from error
                    raise
        except BaseException:
            with contextlib.suppress(NotFound):
                self._executor.stop(self._id, ABORT_TIMEOUT)
            raise

    def _death(self) -> PluginExecError:
        """Wait until its end was dealt with, and return the error that tells of it."""
        status = self._executor.wait(self._id)
        words = self._words.text()
        said = f"its last output: {words}" if words else "it printed nothing"
        return FailedPrecondition(f"it {how_it_ended(status)} before it was ready; {said}")


def how_it_ended(status: ExitStatus) -> str:
    """Return the verb and what is known."""
    if status.exit_code is None:
        return "ended, nobody knows how,"
    return f"ended with exit code {status.exit_code}" + (", out of memory," if status.oom_killed else "")


@contextlib.contextmanager
def held(executor: Executor, id: str) -> Iterator[InitProcess | None]:
    """Hold the process of a plugin; ``None`` if it has ended."""
    init = None
    with contextlib.suppress(NotFound):
        init = InitProcess.open(executor.pid(id))
        # It is the plugin's, and not one that has got its number, only if the plugin had not ended by now.
        if init and not executor.is_running(id):
            init.close()
            init = None
    try:
        yield init
    finally:
        if init:
            init.close()


@contextlib.contextmanager
def _any_of(descriptor: int, other: int | None) -> Iterator[int]:
    """Give a descriptor that is readable once one of two is."""
    with contextlib.closing(select.epoll()) as epoll:
        for each in (descriptor, other):
            if each is not None:
                epoll.register(each, select.EPOLLIN)
        yield epoll.fileno()
