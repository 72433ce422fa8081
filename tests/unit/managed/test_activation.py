"""The start of a plugin up to its answer, with a container that is only pretended."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec import ExitStatus, FailedPrecondition, InvalidArgument, Unavailable
from pluginexec.linux.pidfd import InitProcess
from pluginexec.managed.activation import PluginRunner
from pluginexec.managed.client import Ended
from pluginexec.managed.config import load_config
from pluginexec.managed.directories import PluginDirectories
from pluginexec.managed.settings import Settings
from tests.unit.managed.test_config import LEAST

LONGER_THAN_ANY_TEST = 3600.0


class FakeContainer:
    """A container whose init process is this process, or has ended; it records what was called."""

    def __init__(self, *, has_ended: bool = False, oom_killed: bool = False, output: str = "") -> None:
        self.calls: list[str] = []
        self.has_ended = has_ended
        self.oom_killed = oom_killed
        self.output = output
        self.start_error: Exception | None = None
        self.abort_error: Exception | None = None

    def start(self, spec: dict[str, Any]) -> None:
        self.calls.append("start")
        if self.start_error:
            raise self.start_error

    @contextlib.contextmanager
    def hold(self) -> Iterator[InitProcess | None]:
        init = None if self.has_ended else InitProcess.open(os.getpid())
        try:
            yield init
        finally:
            if init:
                init.close()

    def exit_status(self, init: InitProcess | None) -> ExitStatus:
        return ExitStatus(137, datetime.now(timezone.utc), 1, self.oom_killed)

    def last_output(self) -> str:
        return self.output

    def abort(self) -> None:
        self.calls.append("abort")
        if self.abort_error:
            raise self.abort_error


def runner_of(container: FakeContainer, directory: Path, **changes: Any) -> PluginRunner:
    """Return a runner of the least plugin, with changes to its configuration."""
    directories = PluginDirectories(directory)
    directories.exec_dir.mkdir(parents=True, exist_ok=True)
    config = load_config({**LEAST, **changes})
    return PluginRunner(container, "x", config, directory / "rootfs", directories, hint="read the log")


@pytest.mark.parametrize(
    ("oom_killed", "output", "says"),
    [
        (False, "", "it ended with exit code 137 before it was ready; it printed nothing"),
        (True, "no way", "it ended with exit code 137 (out of memory) before it was ready; its last output: no way"),
    ],
)
def test_one_that_has_ended_is_reported_with_what_is_known(
    tmp_path: Path, oom_killed: bool, output: str, says: str
) -> None:
    container = FakeContainer(has_ended=True, oom_killed=oom_killed, output=output)
    with pytest.raises(FailedPrecondition) as raised:
        runner_of(container, tmp_path).start(Settings(), LONGER_THAN_ANY_TEST)
    assert (raised.value.message, raised.value.hint) == (says, "read the log")
    assert container.calls == ["start", "abort"]


def test_one_that_was_started_before_is_not_started_again(tmp_path: Path) -> None:
    container = FakeContainer(has_ended=True)
    with pytest.raises(FailedPrecondition, match="before it was ready"):
        runner_of(container, tmp_path).activate(LONGER_THAN_ANY_TEST)
    assert container.calls == ["abort"]


def test_without_a_spec_nothing_is_started(tmp_path: Path) -> None:
    mounts = [{"name": "s", "settable": ["source"], "destination": "/s", "type": "bind"}]
    container = FakeContainer()
    with pytest.raises(InvalidArgument, match="mount 's' has no source") as raised:
        runner_of(container, tmp_path, mounts=mounts).start(Settings(), 1.0)
    assert raised.value.hint == "set s.source to an absolute path of the host"
    assert container.calls == ["abort"]


def test_a_failure_to_abort_is_logged_and_does_not_hide_the_first_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    container = FakeContainer()
    container.start_error, container.abort_error = Unavailable("first"), Unavailable("second")
    with pytest.raises(Unavailable, match="first") as raised:
        runner_of(container, tmp_path).start(Settings(), 1.0)
    assert raised.value.hint is None
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, "second")]


def test_a_start_that_is_cancelled_ends_at_once(tmp_path: Path) -> None:
    container, cancel = FakeContainer(), os.eventfd(1, os.EFD_CLOEXEC)
    try:
        with pytest.raises(Ended):
            runner_of(container, tmp_path).start(Settings(), LONGER_THAN_ANY_TEST, cancel)
    finally:
        os.close(cancel)
    assert container.calls == ["start", "abort"]
