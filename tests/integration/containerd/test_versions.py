"""The warning of a containerd that was not tested. Real: all but the version that is reported."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Executor, Remote
from pluginexec.containerd import client, versions
from pluginexec.containerd.versions import TESTED, series
from tests.support.fakes import fake_command
from tests.support.harness import PATIENCE, Exits, live_children, wait_until
from tests.support.probe import environment, pluginexec

Shell = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests were warned of."""
    monkeypatch.setattr(versions, "_warned", set())


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the warnings of untested versions so far."""
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == versions.__name__ and record.levelno == logging.WARNING
    ]


Warnings = Callable[[], list[str]]


# With a real containerd.


class Wrapped:
    """A ``ctr`` that does to ``ctr version`` what a script says, and counts that; all else is the real one's."""

    def __init__(self, directory: Path, script: str) -> None:
        real = shutil.which("ctr")
        assert real
        self._asked = directory / "asked"
        directory.mkdir()
        asked = f'case "$*" in *" version") echo >>$here/asked; {script}; exit;; esac'
        self.path = fake_command(directory / "ctr", f'{asked}\nexec {real} "$@"')

    @property
    def asked(self) -> int:
        """How often it was asked for the version."""
        return self._asked.stat().st_size if self._asked.exists() else 0

    def await_question(self, count: int = 1) -> None:
        """Wait until it was asked so often."""
        wait_until(lambda: self.asked >= count, f"question {count} for the version")


def claim(server: str, client: str) -> str:
    return rf"printf 'Client:\n  Version:  {client}\n\nServer:\n  Version:  {server}\n'"


def event_child() -> psutil.Process | None:
    """Return the one ``ctr events`` of ours, if it runs."""
    children = [child for child in live_children() if "events" in child.cmdline()]
    return children[0] if children else None


@pytest.mark.usefixtures("clean_namespace")
def test_an_executor_warns_of_the_real_one_only_if_that_was_never_tried(
    tmp_path: Path, new_executor: Callable[..., Executor], remote: Remote, warnings: Warnings
) -> None:
    ctr = Wrapped(tmp_path / "bin", f'{shutil.which("ctr")} "$@"')
    executor = new_executor(remote=Remote(remote.address, ctr=ctr.path))
    ctr.await_question()
    executor.close()
    tried = series(remote.new_client("n").server_version()) in TESTED
    assert len(warnings()) == (0 if tried else 1)


def test_an_untested_one_is_warned_of_once_however_often_the_stream_starts_anew(
    tmp_path: Path, new_executor: Callable[..., Executor], remote: Remote, warnings: Warnings
) -> None:
    ctr = Wrapped(tmp_path / "bin", claim("2.9.0", "2.9.0"))
    executor = new_executor(remote=Remote(remote.address, ctr=ctr.path))
    for count in (1, 2, 3):
        ctr.await_question(count)
        wait_until(event_child, "the stream")
        if child := event_child():
            child.kill()
    executor.close()
    (line,) = warnings()
    assert line.startswith("containerd 2.9.0 has not been tested")


def test_a_ctr_of_another_version_is_warned_of_by_its_name(
    tmp_path: Path, new_executor: Callable[..., Executor], remote: Remote, warnings: Warnings
) -> None:
    ctr = Wrapped(tmp_path / "bin", claim("1.7.24~ds1", "1.4.13"))
    executor = new_executor(remote=Remote(remote.address, ctr=ctr.path))
    ctr.await_question()
    executor.close()
    (line,) = warnings()
    assert line.startswith("ctr 1.4.13 has not been tested")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("exec sleep 1000", id="hangs"),
        pytest.param("echo 'ctr: something odd' >&2; exit 1", id="fails"),
        pytest.param("kill -KILL $$", id="dies"),
        pytest.param(r"printf 'Server:\n  \377\376\n'", id="rubbish"),
        pytest.param("true", id="silent"),
    ],
)
def test_a_ctr_that_tells_no_version_disturbs_nothing(
    script: str,
    tmp_path: Path,
    new_executor: Callable[..., Executor],
    remote: Remote,
    id: str,
    shell: Shell,
    exits: Exits,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "VERSION_TIMEOUT", 0.5)
    ctr = Wrapped(tmp_path / "bin", script)
    # A time-out for all commands that shows if this one were given it.
    executor = new_executor(remote=Remote(remote.address, ctr=ctr.path, timeout=PATIENCE * 2))
    ctr.await_question()
    child = event_child()
    executor.create(id, shell(id, "exit 7"))
    ((told, status),) = exits.wait_for(1)
    assert (told, status.exit_code) == (id, 7)
    assert child is not None
    assert child == event_child()
    begun = time.monotonic()
    executor.close()
    assert time.monotonic() - begun < PATIENCE
    assert ctr.asked == 1
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_command_line_shows_the_warning_on_stderr_once(
    tmp_path: Path, remote: Remote, root_dir: Path, rootfs: Path, clean_namespace: None
) -> None:
    ctr = Wrapped(tmp_path / "bin", claim("2.9.0", "2.9.0"))
    forever = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    where = ("--address", remote.address, "--root", root_dir)
    argv = pluginexec(*where, "run", "--rm", "--rootfs", rootfs, "--", "sh", "-c", forever)
    env = environment(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=env) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            ctr.await_question()
        finally:
            process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 9
    (line,) = stderr.decode().splitlines()
    assert line.startswith("pluginexec: containerd 2.9.0 has not been tested")
