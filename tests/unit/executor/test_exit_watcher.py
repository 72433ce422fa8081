"""The watcher of the init processes. Real: child processes, and the kernel that reports their end."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from pluginexec.executor import exit_watcher
from pluginexec.executor.exit_watcher import ExitWatcher
from pluginexec.linux.pidfd import InitProcess
from tests.support.harness import PATIENCE, held_descriptors, wait_until
from tests.support.shortages import few_descriptors

HOURS = 3600.0

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
    """A child that runs, and the pidfd of it."""
    child = spawn("exit 42")
    init = InitProcess.open(child.pid)
    assert init
    yield child, init
    init.close()


Held = tuple["subprocess.Popen[bytes]", InitProcess]


class Reconciliations:
    """A ``reconcile`` that counts, and answers, or raises, in turn what it was given; then ``True``."""

    def __init__(self, *answers: bool | Exception) -> None:
        self._answers = list(answers)
        self._called = threading.Condition()
        self.count = 0

    def __call__(self) -> bool:
        with self._called:
            self.count += 1
            self._called.notify_all()
        answer = self._answers.pop(0) if self._answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for(self, count: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: self.count >= count, PATIENCE), f"{self.count} calls of {count}"


@pytest.fixture
def new_watch() -> Iterator[Callable[[Callable[[], bool]], ExitWatcher]]:
    """Make watches that are closed in the end."""
    watches = []

    def make(reconcile: Callable[[], bool]) -> ExitWatcher:
        watches.append(ExitWatcher(reconcile))
        return watches[-1]

    yield make
    for watch in watches:
        if not watch._closed:
            watch.close()


NewWatch = Callable[[Callable[[], bool]], ExitWatcher]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses too short to wait for."""
    monkeypatch.setattr(exit_watcher, "GRACE", 0.01)
    monkeypatch.setattr(exit_watcher, "RETRY", 0.01)


@pytest.mark.usefixtures("short")
def test_the_end_of_a_watched_process_is_called_into(held: Held, new_watch: NewWatch) -> None:
    child, init = held
    calls = Reconciliations()
    new_watch(calls).add("x", init, lambda late: None)
    assert calls.count == 0
    finish(child)
    calls.wait_for(1)


@pytest.mark.usefixtures("short")
def test_each_of_many_ends_is_called_into(spawn: Spawn, new_watch: NewWatch) -> None:
    calls = Reconciliations()
    watch = new_watch(calls)
    children = [spawn("exit") for _ in range(5)]
    for count, child in enumerate(children, 1):
        init = InitProcess.open(child.pid)
        assert init
        watch.add("x", init, lambda late: None)
        finish(child)
        calls.wait_for(count)
        init.close()


def test_containerd_is_given_time_to_report_an_end_itself(
    held: Held, new_watch: NewWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, init = held
    monkeypatch.setattr(exit_watcher, "GRACE", HOURS)
    calls = Reconciliations()
    watch = new_watch(calls)
    watch.add("x", init, lambda late: None)
    finish(child)
    wait_until(lambda: watch._due, "the thread to see the end")
    assert calls.count == 0


@pytest.mark.usefixtures("short")
def test_an_end_during_a_reconciliation_leads_to_another(held: Held, new_watch: NewWatch) -> None:
    child, init = held
    go_on = threading.Event()
    calls = Reconciliations()
    watch = new_watch(lambda: calls() and go_on.wait(PATIENCE))
    watch.add("x", init, lambda late: None)
    watch.schedule()
    calls.wait_for(1)
    finish(child)
    wait_until(init.has_ended, "the end")
    go_on.set()
    calls.wait_for(2)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("busy", [False, True])
def test_an_end_is_noted_at_once_and_as_late_where_the_thread_was_at_work(
    held: Held, new_watch: NewWatch, busy: bool
) -> None:
    child, init = held
    go_on = threading.Event()
    calls = Reconciliations()
    noted: list[tuple[bool, int]] = []
    watch = new_watch(lambda: calls() and (not busy or go_on.wait(PATIENCE)))
    watch.add("x", init, lambda late: noted.append((late, calls.count)))
    if busy:
        watch.schedule()
        calls.wait_for(1)
    finish(child)
    wait_until(init.has_ended, "the end")
    go_on.set()
    calls.wait_for(1 + busy)
    assert noted == [(busy, busy)]


def test_one_end_is_called_into_once(held: Held, new_watch: NewWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    child, init = held
    monkeypatch.setattr(exit_watcher, "GRACE", 0.0)
    calls = Reconciliations()
    watch = new_watch(calls)
    watch.add("x", init, lambda late: None)
    finish(child)
    calls.wait_for(1)
    watch.schedule()
    calls.wait_for(2)
    watch.close()
    assert calls.count == 2


@pytest.mark.usefixtures("short")
def test_a_process_whose_pidfd_is_closed_is_no_longer_watched(spawn: Spawn, new_watch: NewWatch) -> None:
    child = spawn("exit")
    init = InitProcess.open(child.pid)
    assert init
    calls = Reconciliations()
    watch = new_watch(calls)
    watch.add("x", init, lambda late: None)
    init.close()
    finish(child)
    child.wait()
    watch.schedule()
    calls.wait_for(1)
    watch.close()
    assert calls.count == 1


def test_a_scheduled_reconciliation_happens(new_watch: NewWatch) -> None:
    calls = Reconciliations()
    watch = new_watch(calls)
    for count in range(1, 4):
        watch.schedule()
        calls.wait_for(count)


def test_one_scheduled_for_now_overtakes_one_for_later(new_watch: NewWatch) -> None:
    calls = Reconciliations()
    watch = new_watch(calls)
    watch.schedule(HOURS)
    watch.schedule()
    calls.wait_for(1)


def test_one_scheduled_for_later_does_not_put_off_what_is_due_before(new_watch: NewWatch) -> None:
    calls = Reconciliations()
    watch = new_watch(calls)
    watch.schedule(0.05)
    watch.schedule(HOURS)
    calls.wait_for(1)


@pytest.mark.usefixtures("short")
def test_a_reconciliation_that_settles_nothing_is_repeated_until_it_does(new_watch: NewWatch) -> None:
    calls = Reconciliations(False, False, True)
    watch = new_watch(calls)
    watch.schedule()
    calls.wait_for(3)
    wait_until(lambda: watch._due is None, "the end of the repeats")


@pytest.mark.usefixtures("short")
def test_one_that_raises_is_logged_and_repeated(new_watch: NewWatch, caplog: pytest.LogCaptureFixture) -> None:
    calls = Reconciliations(ZeroDivisionError("odd"), True)
    new_watch(calls).schedule()
    calls.wait_for(2)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "odd" in str(record.exc_info)


def test_a_closed_watcher_calls_nothing(new_watch: NewWatch) -> None:
    calls = Reconciliations()
    watch = new_watch(calls)
    watch.schedule(HOURS)
    watch.close()
    watch.schedule()
    assert calls.count == 0


def test_closing_waits_for_the_reconciliation_that_is_at_work(new_watch: NewWatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done = []

    def reconcile() -> bool:
        begun.set()
        go_on.wait(PATIENCE)
        done.append(True)
        return True

    watch = new_watch(reconcile)
    watch.schedule()
    assert begun.wait(PATIENCE)
    threading.Timer(0.05, go_on.set).start()
    watch.close()
    assert done


def test_a_watcher_without_descriptors_leaves_none() -> None:
    before = held_descriptors()
    for spare in (0, 1):
        with few_descriptors(spare), pytest.raises(OSError, match="Too many open files"):
            ExitWatcher(lambda: True)
    assert held_descriptors() == before
