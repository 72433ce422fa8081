"""The kernel's word on the end of a process. Real: child processes, and the kernel that is asked about them."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import Unavailable
from pluginexec.linux import pidfd as pidfds
from pluginexec.linux.pidfd import ExitWatcher, InitProcess, boot_seconds
from tests.support.harness import PATIENCE, held_descriptors, wait_until
from tests.support.shortages import few_descriptors

HOURS = 3600.0


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


class Looks:
    """A ``look`` that counts, and answers, or raises, in turn what it was given; then ``True``."""

    def __init__(self, *answers: bool | Exception) -> None:
        self._answers = list(answers)
        self._looked = threading.Condition()
        self.count = 0

    def __call__(self) -> bool:
        with self._looked:
            self.count += 1
            self._looked.notify_all()
        answer = self._answers.pop(0) if self._answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for(self, count: int) -> None:
        with self._looked:
            assert self._looked.wait_for(lambda: self.count >= count, PATIENCE), f"{self.count} looks of {count}"


def test_a_signal_reaches_the_process_until_it_has_ended(held: Held) -> None:
    child, init = held
    assert init.send(signal.SIGTERM)
    wait_until(init.has_ended, "its end")
    assert not init.send(signal.SIGTERM)  # though a zombie would take it
    assert child.wait() == -signal.SIGTERM
    assert not init.send(signal.SIGTERM)
    init.close()
    assert not init.send(signal.SIGTERM)


@pytest.fixture
def new_watch() -> Iterator[Callable[[Callable[[], bool]], ExitWatcher]]:
    """Make watches that are closed in the end."""
    watches = []

    def make(look: Callable[[], bool]) -> ExitWatcher:
        watches.append(ExitWatcher(look))
        return watches[-1]

    yield make
    for watch in watches:
        if not watch._closed:
            watch.close()


NewWatch = Callable[[Callable[[], bool]], ExitWatcher]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses too short to wait for."""
    monkeypatch.setattr(pidfds, "GRACE", 0.01)
    monkeypatch.setattr(pidfds, "RETRY", 0.01)


@pytest.mark.usefixtures("short")
def test_the_end_of_a_watched_process_is_looked_into(held: Held, new_watch: NewWatch) -> None:
    child, init = held
    looks = Looks()
    new_watch(looks).add(init)
    assert looks.count == 0
    finish(child)
    looks.wait_for(1)


@pytest.mark.usefixtures("short")
def test_each_of_many_ends_is_looked_into(spawn: Spawn, new_watch: NewWatch) -> None:
    looks = Looks()
    watch = new_watch(looks)
    children = [spawn("exit") for _ in range(5)]
    for count, child in enumerate(children, 1):
        init = InitProcess.open(child.pid)
        assert init
        watch.add(init)
        finish(child)
        looks.wait_for(count)
        init.close()


def test_containerd_is_given_time_to_report_an_end_itself(
    held: Held, new_watch: NewWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, init = held
    monkeypatch.setattr(pidfds, "GRACE", HOURS)
    looks = Looks()
    watch = new_watch(looks)
    watch.add(init)
    finish(child)
    wait_until(lambda: watch._due, "the thread's notice of the end")
    assert looks.count == 0


@pytest.mark.usefixtures("short")
def test_an_end_during_a_look_leads_to_another(held: Held, new_watch: NewWatch) -> None:
    child, init = held
    go_on = threading.Event()
    looks = Looks()
    watch = new_watch(lambda: looks() and go_on.wait(PATIENCE))
    watch.add(init)
    watch.schedule()
    looks.wait_for(1)
    finish(child)
    wait_until(init.has_ended, "the end")
    go_on.set()
    looks.wait_for(2)


def test_one_end_is_looked_into_once(held: Held, new_watch: NewWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    child, init = held
    monkeypatch.setattr(pidfds, "GRACE", 0.0)
    looks = Looks()
    watch = new_watch(looks)
    watch.add(init)
    finish(child)
    looks.wait_for(1)
    watch.schedule()
    looks.wait_for(2)
    watch.close()
    assert looks.count == 2


@pytest.mark.usefixtures("short")
def test_a_process_whose_pidfd_is_closed_is_no_longer_watched(spawn: Spawn, new_watch: NewWatch) -> None:
    child = spawn("exit")
    init = InitProcess.open(child.pid)
    assert init
    looks = Looks()
    watch = new_watch(looks)
    watch.add(init)
    init.close()
    finish(child)
    child.wait()
    watch.schedule()
    looks.wait_for(1)
    watch.close()
    assert looks.count == 1


def test_a_poke_leads_to_a_look(new_watch: NewWatch) -> None:
    looks = Looks()
    watch = new_watch(looks)
    for count in range(1, 4):
        watch.schedule()
        looks.wait_for(count)


def test_a_poke_for_now_overtakes_one_for_later(new_watch: NewWatch) -> None:
    looks = Looks()
    watch = new_watch(looks)
    watch.schedule(HOURS)
    watch.schedule()
    looks.wait_for(1)


def test_a_poke_for_later_does_not_put_off_what_is_due_before(new_watch: NewWatch) -> None:
    looks = Looks()
    watch = new_watch(looks)
    watch.schedule(0.05)
    watch.schedule(HOURS)
    looks.wait_for(1)


@pytest.mark.usefixtures("short")
def test_a_look_that_comes_to_no_result_is_repeated_until_it_does(new_watch: NewWatch) -> None:
    looks = Looks(False, False, True)
    watch = new_watch(looks)
    watch.schedule()
    looks.wait_for(3)
    wait_until(lambda: watch._due is None, "the end of the repeats")


@pytest.mark.usefixtures("short")
def test_a_look_that_raises_is_logged_and_repeated(new_watch: NewWatch, caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks(ZeroDivisionError("odd"), True)
    new_watch(looks).schedule()
    looks.wait_for(2)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "odd" in str(record.exc_info)


def test_a_closed_watch_looks_no_more(new_watch: NewWatch) -> None:
    looks = Looks()
    watch = new_watch(looks)
    watch.schedule(HOURS)
    watch.close()
    watch.schedule()
    assert looks.count == 0


def test_closing_waits_for_the_look_that_is_at_work(new_watch: NewWatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done = []

    def look() -> bool:
        begun.set()
        go_on.wait(PATIENCE)
        done.append(True)
        return True

    watch = new_watch(look)
    watch.schedule()
    assert begun.wait(PATIENCE)
    threading.Timer(0.05, go_on.set).start()
    watch.close()
    assert done


def test_a_process_that_cannot_be_looked_at_for_want_of_descriptors_has_not_ended() -> None:
    before = held_descriptors()
    for spare in (0, 1):  # for the pidfd, and to read when the process started
        with few_descriptors(spare), pytest.raises(Unavailable, match="Too many open files"):
            InitProcess.open(os.getpid())
    assert held_descriptors() == before


def test_a_watch_without_descriptors_leaves_none() -> None:
    before = held_descriptors()
    for spare in (0, 1):
        with few_descriptors(spare), pytest.raises(OSError, match="Too many open files"):
            ExitWatcher(lambda: True)
    assert held_descriptors() == before
