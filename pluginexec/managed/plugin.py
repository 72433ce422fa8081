"""A docker managed plugin that is enabled in this process, without docker."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from pluginexec.errors import AlreadyExists, FailedPrecondition, NotFound, PluginExecError
from pluginexec.executor.executor import Executor
from pluginexec.linux import trees
from pluginexec.linux.forks import Maker
from pluginexec.managed.activation import STOP_TIMEOUT, PluginRunner
from pluginexec.managed.bundle import bundle_path, rootfs_of, unpack
from pluginexec.managed.client import call
from pluginexec.managed.config import PluginConfig, load_config
from pluginexec.managed.container import AttachedContainer
from pluginexec.managed.directories import PluginDirectories
from pluginexec.managed.output_tail import OutputTail
from pluginexec.managed.restarter import PluginRestarter
from pluginexec.managed.settings import Settings, changed, default_settings
from pluginexec.restart_policy import parse_policy
from pluginexec.root.layout import Layout
from pluginexec.streams.sinks import Sink, check_sink
from pluginexec.types import ExitStatus
from pluginexec.validation import check_id

START_TIMEOUT = 30.0
"""Seconds within which a plugin must answer."""


class _State(Enum):
    DISABLED = "disabled"
    ENABLING = "being enabled"
    ENABLED = "enabled"
    DISABLING = "being disabled"


class ManagedPlugin:
    """A docker managed plugin: a volume, network, log or authorization plugin, say.

    - ``executor``: runs its container;
    - ``source``: what ``docker plugin create`` takes, a directory with ``config.json`` and ``rootfs/``, or its tar. A
      directory is used in place, so what the plugin writes is written there; a tar is unpacked under the executor's
      root, and the copy is removed in the end;
    - ``id``: its id in containerd; by default a new one;
    - ``settings``: as for ``set``;
    - ``restart``: whether to restart it after it has ended by itself: ``no``, ``on-failure[:N]``, ``always`` or
      ``unless-stopped``, with docker's meaning and delays;
    - ``stdout``, ``stderr``: as in ``Executor.create``, but a writer is never closed, because it serves every run of
      the plugin. This process keeps the end of a stream without a file, for errors.

    A context manager: entering it enables the plugin, leaving it disables and removes it. All methods may be called
    from any thread. Raises ``InvalidArgument`` for an invalid configuration, setting or bundle.
    """

    def __init__(
        self,
        executor: Executor,
        source: str | os.PathLike[str],
        *,
        id: str | None = None,
        settings: Iterable[str] = (),
        restart: str = "no",
        stdout: Sink = None,
        stderr: Sink = None,
    ) -> None:
        self.id = check_id(secrets.token_hex(16) if id is None else id)
        self._policy = parse_policy(restart)
        for sink in (stdout, stderr):
            check_sink(sink)
        self._executor = executor
        self._directories = PluginDirectories(Layout(executor.root_dir, executor.root_dir).managed / self.id)
        self._unpacked: Path | None = None
        """The unpacked tar, which is removed in the end."""
        bundle = bundle_path(source)
        try:
            if not bundle.is_dir():
                self._unpacked = self._directories.directory / "bundle"
                bundle = unpack(bundle, self._unpacked)
            rootfs = rootfs_of(bundle)
            self.config: PluginConfig = load_config(bundle)
            self.settings: Settings = changed(self.config, default_settings(self.config), settings)
        except BaseException:
            self._discard()
            raise
        self.implements: list[str] = []
        """The answer to ``Plugin.Activate``."""
        output = OutputTail(stdout, stderr)
        self._container = AttachedContainer(executor, self.id, self.config, self._directories, output)
        self._runner = PluginRunner(self._container, self.id, self.config, rootfs, self._directories)
        self._restarter: PluginRestarter | None = None
        self._state = _State.DISABLED
        self._lock = threading.Lock()
        self._maker = Maker()

    def __enter__(self) -> ManagedPlugin:
        try:
            self.enable()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"<ManagedPlugin {self.id}: {self._state.value}>"

    @property
    def socket(self) -> Path:
        """The path of its socket on the host, while it is enabled."""
        return self._directories.socket(self.config)

    @property
    def enabled(self) -> bool:
        """Whether it was enabled, and runs or will be restarted."""
        if self._state is not _State.ENABLED:
            return False
        if self._restarter:
            return self._restarter.is_active
        try:
            return self._executor.is_running(self.id)
        except NotFound:
            return False

    def enable(self, timeout: float = START_TIMEOUT) -> None:
        """Start the plugin, and wait until it answers on its socket that it implements its ``interface.types``.

        A failure leaves nothing behind. Raises what ``Executor.create`` does, and:

        - ``FailedPrecondition``: it is already enabled; or it ended before it listened (the message has its exit code
          and its last output), or implements something else;
        - ``InvalidArgument``: a mount or a device must be set first, or does not exist;
        - ``DeadlineExceeded``: it did not answer within ``timeout`` seconds;
        - ``AlreadyExists``: a plugin of this id still runs, started by an earlier process; ``disable`` ends it.
        """
        self._maker.check()
        with self._changing("enable", _State.ENABLING, _State.DISABLED):
            if self._container.take_over():
                raise AlreadyExists(
                    "it is already running, started by an earlier process or another object", hint="disable it first"
                )
            self.implements = self._runner.start(self.settings, timeout)
            try:
                if self._policy.name != "no":
                    self._restarter = PluginRestarter(self._container, self.id, self._policy, self._restart)
            except BaseException:
                self._container.stop(STOP_TIMEOUT)
                raise
            self._state = _State.ENABLED

    def disable(self, timeout: float = STOP_TIMEOUT) -> ExitStatus | None:
        """Stop the plugin: SIGTERM, ``timeout`` seconds, SIGKILL; return how it ended, ``None`` if it did not run.

        What it has mounted for the host is unmounted, and its socket is removed. A plugin of this id that an earlier
        process has started is stopped too. In a forked child nothing is stopped. Raises ``DeadlineExceeded`` if even
        SIGKILL does not end it.
        """
        if not self._maker.is_this_process():
            return None
        with self._changing("disable", _State.DISABLING, _State.ENABLED, _State.DISABLED) as before:
            restarter, self._restarter = self._restarter, None
            if restarter:
                restarter.stop()
            if before is _State.DISABLED and not self._container.take_over():
                return None
            status = self._container.stop(timeout)
            self._state = _State.DISABLED
            return status

    def remove(self) -> None:
        """Disable the plugin if it is enabled, and remove its unpacked tar and what it has stored."""
        self.disable()
        if self._maker.is_this_process():
            self._discard()

    def call(self, method: str, body: object = None, timeout: float = START_TIMEOUT) -> Any:
        """Call a method, such as ``VolumeDriver.Create``, and return its answer, parsed.

        ``body`` is anything that JSON can hold. Raises ``FailedPrecondition`` if it is not enabled, ``Unknown`` with
        the plugin's ``Err``, ``NotFound`` if it has no such method, ``Unavailable`` if the connection breaks, and
        ``DeadlineExceeded`` without a complete answer within ``timeout`` seconds.
        """
        try:
            if not self.enabled:
                raise FailedPrecondition("it is not enabled")
            return call(self.socket, method, body, timeout=timeout)
        except PluginExecError as error:
            error.operation, error.id = "call", self.id
            raise

    def set(self, *pairs: str) -> None:
        """Change settings, in the syntax of ``docker plugin set``: ``DEBUG=1``, ``state.source=/srv``, ``args=-v -x``.

        All of them are changed, or none. Raises ``FailedPrecondition`` unless the plugin is disabled, and
        ``InvalidArgument`` for what is not in the configuration or not settable.
        """
        try:
            with self._lock:
                if self._state is not _State.DISABLED:
                    raise FailedPrecondition(f"it is {self._state.value}", hint="disable it first")
                self.settings = changed(self.config, self.settings, pairs)
        except PluginExecError as error:
            error.operation, error.id = "set", self.id
            raise

    def _restart(self, cancel: int) -> None:
        self.implements = self._runner.start(self.settings, START_TIMEOUT, cancel)

    @contextlib.contextmanager
    def _changing(self, operation: str, during: _State, *allowed: _State) -> Iterator[_State]:
        """Reserve the plugin for an operation; restore the state if the operation does not set one."""
        with self._lock:
            before = self._state
            if before in allowed:
                self._state = during
        try:
            if before not in allowed:
                raise FailedPrecondition(f"it is {before.value}")
            yield before
        except PluginExecError as error:
            error.operation, error.id = operation, self.id
            raise
        finally:
            if self._state is during and before in allowed:
                self._state = before

    def _discard(self) -> None:
        if self._unpacked:
            trees.remove(self._unpacked)
        self._directories.remove()
