"""The same work on several plugins. Real: the threads."""

from __future__ import annotations

import threading

import pytest

from pluginexec.host import side_by_side as module
from pluginexec.host.side_by_side import side_by_side
from tests.support.harness import PATIENCE, our_threads

IDS = ["c", "a", "b"]


def test_all_are_worked_on_at_the_same_time_on_threads_that_have_ended_then() -> None:
    together = threading.Barrier(len(IDS), timeout=PATIENCE)
    before = our_threads()
    names = []

    def work(id: str) -> None:
        names.append(threading.current_thread().name)
        together.wait()

    assert list(side_by_side(work, IDS)) == [None] * 3
    assert sorted(names) == [f"pluginexec-side-by-side-{number}" for number in range(3)]
    assert our_threads() == before


def test_outcomes_come_in_the_order_asked_and_a_failure_stops_no_other() -> None:
    last = threading.Event()
    done = []

    def work(id: str) -> None:
        if id == "b":
            last.set()
        assert last.wait(PATIENCE)
        if id == "a":
            raise ValueError(id)
        done.append(id)

    first, second, third = side_by_side(work, IDS)
    assert (first, repr(second), third) == (None, "ValueError('a')", None)
    assert sorted(done) == ["b", "c"]


def test_there_are_no_more_threads_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREADS_AT_MOST", 2)
    threads = set()
    assert list(side_by_side(lambda id: threads.add(threading.current_thread()), ["x"] * 100)) == [None] * 100
    assert len(threads) <= 2
    assert threading.current_thread() not in threads


def test_what_was_not_begun_is_not_done_once_the_caller_has_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREADS_AT_MOST", 2)
    begun: list[str] = []
    blocked, go_on = threading.Event(), threading.Event()

    def work(id: str) -> None:
        begun.append(id)
        if id != "first":
            if len(begun) == 3:
                blocked.set()
            assert go_on.wait(PATIENCE)

    outcomes = side_by_side(work, ["first", "second", "third", "never", "nor this"])
    assert next(outcomes) is None
    assert blocked.wait(PATIENCE)
    outcomes.close()
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("pluginexec-side")]
    go_on.set()
    for thread in workers:
        thread.join(PATIENCE)
    assert sorted(begun) == ["first", "second", "third"]


def test_a_single_one_is_worked_on_by_the_caller_whom_ctrl_c_interrupts() -> None:
    def interrupted(id: str) -> None:
        raise KeyboardInterrupt

    threads = []
    assert list(side_by_side(lambda id: threads.append(threading.current_thread()), ["a"])) == [None]
    assert threads == [threading.current_thread()]
    with pytest.raises(KeyboardInterrupt):
        list(side_by_side(interrupted, ["a"]))


def test_without_threads_it_goes_on_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_threads(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_threads)
    done: list[str] = []
    assert list(side_by_side(done.append, IDS)) == [None] * 3
    assert done == IDS
