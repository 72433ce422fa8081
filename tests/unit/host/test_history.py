"""What is told of plugins, from containerd and from records, each once.

Real: the records. The events are made by hand, because their order matters; ``tests/integration/cli/test_events.py``
has real ones.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pluginexec.host.events import Feed
from pluginexec.host.history import ACTIONS, remembered, told
from pluginexec.host.records import Record, Records, State
from pluginexec.host.timestamps import nanoseconds
from pluginexec.types import EventInfo, EventType
from tests.support.layouts import one_directory

BEGAN = datetime(2026, 11, 24, 1, 2, 3, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
LABELS = {"k": "v"}


def record(id: str = "p", created_at: datetime = BEGAN - 9 * SECOND) -> Record:
    return Record(id=id, created_at=created_at, address="/a", namespace="n", command=["true"], labels=LABELS)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(one_directory(tmp_path / "root"))


@pytest.fixture
def feed(records: Records) -> Feed:
    return Feed(records, nanoseconds(BEGAN))


def tell(feed: Feed, type: EventType, second: int, pid: int = 0, id: str = "p") -> None:
    at = BEGAN + second * SECOND
    feed.process_event(id, type, EventInfo(id, id if type is EventType.EXIT else "", pid, told_at=at))


def lines(feed: Feed) -> list[str]:
    """What is new: the action, and the seconds since the beginning."""
    return [f"{event.action} {(event.time - BEGAN).total_seconds():g}" for event in feed.take(0)]


@pytest.mark.parametrize(
    ("type", "info", "action", "attributes"),
    [
        pytest.param(EventType.START, EventInfo("p", pid=7), "start", {}, id="start"),
        pytest.param(EventType.EXIT, EventInfo("p", "p", 7, 3), "die", {"exit_code": 3}, id="die"),
        pytest.param(EventType.OOM, EventInfo("p"), "oom", {}, id="oom"),
        pytest.param(EventType.PAUSED, EventInfo("p"), "pause", {}, id="pause"),
        pytest.param(EventType.RESUMED, EventInfo("p"), "unpause", {}, id="unpause"),
        pytest.param(EventType.EXEC_ADDED, EventInfo("p", "e"), "exec_create", {"exec_id": "e"}, id="exec_create"),
        pytest.param(EventType.EXEC_STARTED, EventInfo("p", "e", 8), "exec_start", {"exec_id": "e"}, id="exec_start"),
        pytest.param(
            EventType.EXIT, EventInfo("p", "e", 8, 1), "exec_die", {"exec_id": "e", "exit_code": 1}, id="exec_die"
        ),
    ],
)
def test_what_containerd_tells_has_dockers_name(
    type: EventType, info: EventInfo, action: str, attributes: dict[str, object]
) -> None:
    event = told(type, info)
    assert event
    assert (event.action, event.id, event.attributes) == (action, "p", attributes)
    assert action in ACTIONS


@pytest.mark.parametrize("type", [EventType.CREATE, EventType.DELETE, EventType.CHECKPOINTED])
def test_what_docker_does_not_tell_is_not_told(type: EventType) -> None:
    assert told(type, EventInfo("p")) is None


def test_a_record_remembers_the_creation_the_last_start_and_the_last_end() -> None:
    state = State("exited", 7, started_at=BEGAN, finished_at=BEGAN + SECOND, exit_code=3)
    assert [(event.time, event.action, event.attributes, event.labels) for event in remembered(record(), state)] == [
        (BEGAN - 9 * SECOND, "create", {}, LABELS),
        (BEGAN, "start", {}, LABELS),
        (BEGAN + SECOND, "die", {"exit_code": 3}, LABELS),
    ]
    assert [event.action for event in remembered(record(), State())] == ["create"]


def test_a_life_never_ends_before_it_begins() -> None:
    state = State("exited", 7, started_at=BEGAN + SECOND, finished_at=BEGAN)
    assert [(event.time, event.action) for event in remembered(record(), state)][1:] == [
        (BEGAN, "start"),
        (BEGAN, "die"),
    ]


def test_an_exit_code_that_nobody_knows_is_left_out() -> None:
    (*_, end) = remembered(record(), State("exited", 7, finished_at=BEGAN))
    assert end.attributes == {}


def test_what_was_before_the_beginning_is_not_told_and_what_came_later_is_in_order(records: Records) -> None:
    records.create(record("old"), {})
    records.write_state("old", State("exited", 7, started_at=BEGAN - SECOND, finished_at=BEGAN + 2 * SECOND))
    records.create(record("new", BEGAN + SECOND), {})
    events = Feed(records, nanoseconds(BEGAN)).take(0)
    assert [(event.id, event.action) for event in events] == [("new", "create"), ("old", "die")]


def test_what_came_first_is_told_first_whoever_tells_it(records: Records, feed: Feed) -> None:
    records.create(record(created_at=BEGAN + SECOND), {})
    tell(feed, EventType.START, 2, pid=7)
    assert lines(feed) == ["create 1", "start 2"]


def test_an_event_that_the_record_remembers_too_is_told_once(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    tell(feed, EventType.START, 1, pid=7)
    assert lines(feed) == ["start 1"]
    records.write_state("p", State("running", 7, started_at=BEGAN + 2 * SECOND))
    assert lines(feed) == []
    tell(feed, EventType.EXIT, 3, pid=7)
    records.write_state("p", State("exited", 7, started_at=BEGAN + 2 * SECOND, finished_at=BEGAN + 4 * SECOND))
    assert lines(feed) == ["die 3"]
    assert lines(feed) == []


def test_an_event_that_comes_late_is_not_told_after_the_record_was(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    records.write_state("p", State("exited", 7, started_at=BEGAN + SECOND, finished_at=BEGAN + 2 * SECOND))
    assert lines(feed) == ["start 1", "die 2"]
    tell(feed, EventType.START, 1, pid=7)
    tell(feed, EventType.EXIT, 2, pid=7)
    assert lines(feed) == []


def test_each_life_is_told(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    for second, pid in ((1, 7), (3, 8)):
        tell(feed, EventType.START, second, pid)
        tell(feed, EventType.EXIT, second + 1, pid)
    assert lines(feed) == ["start 1", "die 2", "start 3", "die 4"]


def test_the_state_of_an_earlier_life_tells_nothing_new(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    records.write_state("p", State("exited", 7, started_at=BEGAN + SECOND, finished_at=BEGAN + 2 * SECOND))
    tell(feed, EventType.START, 3, pid=8)
    tell(feed, EventType.EXIT, 4, pid=8)
    assert lines(feed) == ["start 3", "die 4"]


def test_a_state_without_a_pid_tells_only_what_containerd_did_not(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    tell(feed, EventType.START, 1, pid=7)
    assert lines(feed) == ["start 1"]
    records.write_state("p", State("exited", 0, started_at=BEGAN + 2 * SECOND, finished_at=BEGAN + 3 * SECOND))
    assert lines(feed) == ["die 3"]
    assert lines(feed) == []


def test_a_pause_is_told_each_time(feed: Feed) -> None:
    for second in (1, 2):
        tell(feed, EventType.PAUSED, second)
        tell(feed, EventType.RESUMED, second)
    assert lines(feed) == ["pause 1", "unpause 1", "pause 2", "unpause 2"]


def test_an_event_carries_the_labels_of_its_record_and_a_stranger_has_none(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    tell(feed, EventType.OOM, 1)
    tell(feed, EventType.OOM, 2, id="stranger")
    assert [(event.id, event.labels) for event in feed.take(0)] == [("p", LABELS), ("stranger", {})]


def test_a_removal_is_told_once_with_the_labels(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    assert feed.take(0) == []
    records.remove("p")
    (event,) = feed.take(0)
    assert (event.action, event.id, event.labels) == ("destroy", "p", LABELS)
    assert feed.take(0) == []


def test_a_new_plugin_of_the_same_id_is_another_one(records: Records, feed: Feed) -> None:
    records.create(record(), {})
    records.write_state("p", State("exited", 7, started_at=BEGAN, finished_at=BEGAN + SECOND))
    assert lines(feed) == ["start 0", "die 1"]
    records.remove("p")
    records.create(record(created_at=BEGAN + 2 * SECOND), {})
    records.write_state("p", State("running", 7, started_at=BEGAN + 3 * SECOND))
    assert lines(feed) == ["destroy 2", "create 2", "start 3"]


def test_a_record_that_is_not_understood_hides_no_other(records: Records, feed: Feed) -> None:
    for id in ("bad", "good"):
        records.create(record(id, BEGAN + SECOND), {})
    (records.directory("bad") / "state.json").write_text("{")
    assert [event.id for event in feed.take(0)] == ["good"]


def test_containerd_is_waited_for_no_longer_than_was_asked(feed: Feed) -> None:
    assert feed.take(0.01) == []
    tell(feed, EventType.OOM, 1)
    assert lines(feed) == ["oom 1"]


def test_only_when_the_stream_comes_back_there_is_a_warning(feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        feed.events_connected()
        assert not caplog.records
        feed.events_connected()
    assert "containerd's events are back" in caplog.text
