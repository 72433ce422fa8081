"""The kernel's word on the end of a process. Real: child processes, and the kernel that is asked about them."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import Unavailable
from pluginexec.linux import pidfd as pidfds
from pluginexec.linux.pidfd import InitProcess, boot_seconds
from tests.support.harness import held_descriptors, wait_until
from tests.support.shortages import few_descriptors


def kernel_tells() -> bool:
    """Whether PIDFD_GET_INFO tells exit codes."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    assert version
    return (int(version[1]), int(version[2])) >= (6, 15)


Spawn = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start shells that first wait for the end of their stdin, see ``finish``."""
    children = []

    def start(script: str) -> subprocess.Popen[bytes]:
        children.append(subprocess.Popen(["sh", "-c", f"read line; {script}"], stdin=subprocess.PIPE))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()
        finish(child)


def finish(child: subprocess.Popen[bytes]) -> None:
    """Let a child go on to its end."""
    assert child.stdin
    child.stdin.close()


@pytest.fixture
def held(spawn: Spawn) -> Iterator[tuple[subprocess.Popen[bytes], InitProcess]]:
    """A child that lives, and the pidfd of it."""
    child = spawn("exit 42")
    init = InitProcess.open(child.pid)
    assert init
    yield child, init
    init.close()


Held = tuple["subprocess.Popen[bytes]", InitProcess]


def test_a_process_that_lives_has_not_ended(held: Held) -> None:
    child, init = held
    assert init.pid == child.pid
    assert not init.has_ended()


def test_an_end_shows_before_and_after_the_process_is_reaped(held: Held) -> None:
    child, init = held
    finish(child)
    wait_until(init.has_ended, "the end")
    child.wait()
    assert init.has_ended()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 0", 0, id="0"),
        pytest.param("exit 1", 1, id="1"),
        pytest.param("exit 42", 42, id="42"),
        pytest.param("exit 255", 255, id="255"),
        pytest.param("kill -KILL $$", 128 + signal.SIGKILL, id="SIGKILL"),
        pytest.param("kill -TERM $$", 128 + signal.SIGTERM, id="SIGTERM"),
        pytest.param("ulimit -c 0; kill -SEGV $$", 128 + signal.SIGSEGV, id="SIGSEGV"),
    ],
)
def test_the_kernel_tells_how_a_reaped_process_ended(spawn: Spawn, script: str, code: int) -> None:
    child = spawn(script)
    init = InitProcess.open(child.pid)
    assert init
    finish(child)
    child.wait()
    assert init.exit_code() == (code if kernel_tells() else None)
    init.close()


def test_the_exit_code_is_waited_for_until_the_process_is_reaped(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    child, init = held
    finish(child)
    wait_until(init.has_ended, "the end")
    monkeypatch.setattr(time, "sleep", lambda _: child.wait())
    assert init.exit_code() == (42 if kernel_tells() else None)


def test_a_process_that_is_just_being_reaped_is_asked_about_again(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    child, init = held
    finish(child)
    child.wait()
    ioctl, answers = fcntl.ioctl, [errno.ESRCH]

    def late(*arguments: Any) -> Any:
        if answers:
            raise OSError(answers.pop(), "late")
        return ioctl(*arguments)

    monkeypatch.setattr(fcntl, "ioctl", late)
    assert init.exit_code() == (42 if kernel_tells() else None)
    assert not answers


def test_the_exit_code_of_a_process_that_nobody_reaps_is_unknown(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    child, init = held
    monkeypatch.setattr(pidfds, "_REAP_TIMEOUT", 0.05)
    finish(child)
    wait_until(init.has_ended, "the end")
    assert init.exit_code() is None


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.EINVAL, errno.EPERM], ids=errno.errorcode.get)
def test_a_kernel_that_cannot_tell_is_asked_once(held: Held, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    child, init = held
    finish(child)
    child.wait()
    asked = []

    def ioctl(*_: object) -> None:
        asked.append(True)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert init.exit_code() is None
    assert asked == [True]


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**31, 2**70])
def test_a_pid_that_no_process_can_have_opens_nothing(pid: int) -> None:
    assert InitProcess.open(pid) is None


def test_a_process_that_has_ended_opens_nothing_reaped_or_not(held: Held) -> None:
    child, init = held
    finish(child)
    wait_until(init.has_ended, "the end")
    assert InitProcess.open(child.pid) is None
    child.wait()
    assert InitProcess.open(child.pid) is None


def test_a_process_older_than_it_may_be_is_not_the_one_meant() -> None:
    assert InitProcess.open(os.getpid(), started_since=boot_seconds()) is None


def test_a_process_that_started_right_after_the_time_given_is_the_one_meant(spawn: Spawn) -> None:
    for _ in range(20):  # the kernel rounds down: without regard to that, most fail
        since = boot_seconds()
        init = InitProcess.open(spawn("exit").pid, started_since=since)
        assert init
        init.close()


def test_setting_the_wall_clock_does_not_change_who_is_meant(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    since = boot_seconds()
    child = spawn("exit")
    monkeypatch.setattr(time, "time", lambda: pytest.fail("the wall clock was asked"))
    init = InitProcess.open(child.pid, started_since=since)
    assert init
    init.close()
    assert not hasattr(pidfds, "psutil")  # its start times are of the wall clock


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b 2"
    odd.symlink_to("/bin/sleep")
    since = boot_seconds()
    with subprocess.Popen([odd, "60"]) as child:
        init = InitProcess.open(child.pid, started_since=since)
        child.kill()
    assert init
    init.close()


def test_a_closed_one_has_ended_and_tells_nothing(held: Held) -> None:
    _, init = held
    init.close()
    init.close()
    assert init.has_ended()
    assert init.exit_code() is None


def test_a_signal_reaches_the_process_until_it_has_ended(held: Held) -> None:
    child, init = held
    assert init.send(signal.SIGTERM)
    wait_until(init.has_ended, "its end")
    assert not init.send(signal.SIGTERM)  # though a zombie would take it
    assert child.wait() == -signal.SIGTERM
    assert not init.send(signal.SIGTERM)
    init.close()
    assert not init.send(signal.SIGTERM)


def test_a_process_that_cannot_be_looked_at_for_want_of_descriptors_has_not_ended() -> None:
    before = held_descriptors()
    for spare in (0, 1):  # for the pidfd, and to read when the process started
        with few_descriptors(spare), pytest.raises(Unavailable, match="Too many open files"):
            InitProcess.open(os.getpid())
    assert held_descriptors() == before
