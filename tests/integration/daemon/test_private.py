"""The private containerd of a root: started once, left to the next command, watched by one process at a time.

Real here: containerd, processes that want it at the same time, their deaths.
Not real: a containerd that never answers is a shell script.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Containerd
from pluginexec.containerd.remote import Remote
from pluginexec.daemon import private as embedded
from pluginexec.daemon.files import LONGEST_ADDRESS, DaemonFiles
from pluginexec.errors import InvalidArgument, PluginExecError, Unavailable
from tests.support.embedded import NOBODY, running, short_root
from tests.support.harness import PATIENCE, wait_until
from tests.support.layouts import one_directory

ENSURE = """
import sys
from pluginexec.containerd import remote
from pluginexec.daemon.private import ensure_running
from pluginexec.root.layout import Layout
remote.DEFAULT_ADDRESS = sys.argv[1]
sys.stdin.readline()
ensure_running(None, Layout.of(sys.argv[2], sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    """Take it that this machine has no containerd of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:  # what a test itself patches is undone before the root's end
        monkeypatch.delenv("CONTAINERD_ADDRESS", raising=False)
        monkeypatch.setattr("pluginexec.containerd.remote.DEFAULT_ADDRESS", NOBODY)
        yield


@pytest.fixture
def root(no_leaks: None) -> Iterator[Path]:
    with short_root() as root:
        yield root


def starts(root: Path) -> int:
    """How often it was started."""
    return (root / "containerd/containerd.log").read_text().count("starting containerd")


def answers(remote: Remote) -> bool:
    try:
        return bool(remote.new_client("default").server_version())
    except PluginExecError:
        return False


@contextlib.contextmanager
def commands(root: Path, count: int, path: str = os.environ["PATH"]) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that each ensure a containerd when they get a line."""
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", ENSURE, NOBODY, str(root)]
    processes = [
        subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) for _ in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def test_where_something_listens_on_the_chosen_address_that_is_used_and_nothing_is_started(
    containerd: Containerd, root: Path
) -> None:
    assert embedded.ensure_running(containerd.address, one_directory(root)).address == containerd.address
    with embedded.supervised(containerd.address, one_directory(root)) as remote:
        assert remote.address == containerd.address
    assert not list(root.iterdir())


def test_where_nothing_listens_a_private_one_is_started_told_of_once_and_left_to_the_next(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = embedded.ensure_running(None, one_directory(root))
    assert answers(first)
    (pid,) = running(root)
    assert [record.getMessage() for record in caplog.records] == [
        f"no containerd at {NOBODY}; a private one runs at {root}/containerd/containerd.sock "
        f"(log: {root}/containerd/containerd.log)"
    ]
    assert (
        embedded.ensure_running(None, one_directory(root))
        == embedded.ensure_running(first.address, one_directory(root))
        == first
    )
    assert running(root) == [pid]
    assert len(caplog.records) == 1
    os.kill(pid, signal.SIGKILL)  # the next command has it again
    wait_until(lambda: not first.listens(), "its end")
    assert answers(embedded.ensure_running(first.address, one_directory(root)))
    assert caplog.records[-1].getMessage().startswith("a private containerd runs at")


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_an_address_that_was_given_is_never_replaced(
    containerd: Containerd, root: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    (root / "containerd").symlink_to(Path(containerd.address).parent)  # though the private one runs
    given, source = (f"{root}/given.sock", "") if by == "argument" else (None, r" \(\$CONTAINERD_ADDRESS\)")
    if by == "variable":
        monkeypatch.setenv("CONTAINERD_ADDRESS", f"{root}/given.sock")
    try:
        for ask in (embedded.ensure_running, lambda *arguments: embedded.supervised(*arguments).__enter__()):
            with pytest.raises(Unavailable, match=rf"^no containerd listens at '{root}/given\.sock'{source}") as raised:
                ask(given, one_directory(root))
            assert "if no address is given, a private containerd is started" in (raised.value.hint or "")
        assert embedded.find_listening(given, one_directory(root)) is None
    finally:
        (root / "containerd").unlink()
    assert not list(root.iterdir())


def test_commands_that_are_started_at_once_start_one(root: Path) -> None:
    with commands(root, 5) as processes:
        for process in processes:
            go(process)
        said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * 5, said
    assert len([line for line in said if "a private one runs at" in line]) == 1
    assert len(running(root)) == 1
    assert starts(root) == 1


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the lock could be had, for each try of this process."""
    tries: list[bool] = []
    start = embedded._start

    def noted(*arguments: Any) -> bool:
        tries.append(start(*arguments))
        return tries[-1]

    monkeypatch.setattr(embedded, "_start", noted)
    return tries


def test_if_the_one_that_starts_it_dies_one_that_waited_starts_it(
    root: Path, tmp_path: Path, tries: list[bool]
) -> None:
    fake = tmp_path / "containerd"
    fake.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 600\n")
    fake.chmod(0o755)
    waiter = threading.Thread(target=embedded.ensure_running, args=(None, one_directory(root)))
    with commands(root, 1, f"{tmp_path}:{os.environ['PATH']}") as (winner,):
        go(winner)
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the fake runs")
        fake_process = psutil.Process(int((tmp_path / "pid").read_text()))
        try:
            waiter.start()
            wait_until(lambda: tries, "it found the lock taken")
            winner.kill()
            waiter.join(PATIENCE)
        finally:
            fake_process.kill()
    assert tries[0] is False
    assert tries[-1] is True
    assert len(running(root)) == 1


def test_one_that_another_process_keeps_and_that_does_not_come_up_is_an_error_in_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STARTUP_TIMEOUT", 0.2)
    with DaemonFiles(root / "containerd").taken(), pytest.raises(Unavailable, match=r"within 0\.2 s") as raised:
        embedded.ensure_running(None, one_directory(root))
    assert "containerd.log" in (raised.value.hint or "")


def test_a_root_whose_path_is_too_long_for_a_socket_is_refused_only_where_a_private_one_is_needed(
    containerd: Containerd, tmp_path: Path
) -> None:
    root = tmp_path / ("x" * LONGEST_ADDRESS)
    assert embedded.ensure_running(containerd.address, one_directory(root)).address == containerd.address
    assert not embedded.is_private(containerd.address, one_directory(root))
    with pytest.raises(InvalidArgument, match=f"at most {LONGEST_ADDRESS} work") as raised:
        embedded.ensure_running(None, one_directory(root))
    assert "shorter" in (raised.value.hint or "")
    assert not root.exists()


def test_the_private_address_of_a_root_is_known_also_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert embedded.is_private(embedded.private_address(one_directory(root)), one_directory(tmp_path / "link"))
    assert not embedded.is_private(NOBODY, one_directory(root))


@pytest.mark.parametrize("by_its_address", [False, True])
def test_while_it_is_watched_it_comes_back_and_others_only_use_it_and_then_it_is_left(
    root: Path, caplog: pytest.LogCaptureFixture, by_its_address: bool
) -> None:
    left = embedded.ensure_running(None, one_directory(root))  # by another command, so it is adopted
    (pid,) = running(root)
    with embedded.supervised(left.address if by_its_address else None, one_directory(root)) as remote:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: running(root) not in ([], [pid]), "its return")
        with embedded.supervised(
            None, one_directory(root)
        ) as same:  # as another process would: it waits for the socket, no more
            assert same == remote
            assert embedded.ensure_running(None, one_directory(root)) == remote
        assert answers(remote)
        (pid,) = running(root)
    assert running(root) == [pid]
    assert answers(remote)
    assert len([record for record in caplog.records if "a private one runs" in record.getMessage()]) == 1


def test_who_watches_for_long_may_wait_until_another_process_lets_go(root: Path, tries: list[bool]) -> None:
    held = DaemonFiles(root / "containerd").taken()
    held.__enter__()
    entered, leave = threading.Event(), threading.Event()

    def serve() -> None:
        with embedded.supervised(None, one_directory(root), patience=PATIENCE) as remote:
            assert answers(remote)
            entered.set()
            leave.wait(PATIENCE)

    server = threading.Thread(target=serve)
    server.start()
    try:
        wait_until(lambda: tries, "it found the lock taken")
        held.__exit__(None, None, None)
        assert entered.wait(PATIENCE)
        (pid,) = running(root)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: running(root) not in ([], [pid]), "its return: it is watched")
    finally:
        leave.set()
        server.join(PATIENCE)


def test_a_start_that_fails_says_why_and_leaves_nothing_running(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PluginExecError, match="cannot run 'containerd'") as raised:
        embedded.ensure_running(None, one_directory(root))
    assert "install" in (raised.value.hint or "")
    assert not running(root)
    assert not caplog.records
