"""Event lines, parsed.

Real: the shapes of the lines, as ``ctr events`` 1.6, 1.7 and 2.1 printed them. No process runs here; that the installed
``ctr`` prints lines that are understood shows in ``test_events.py``.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from pluginexec.containerd.event_parser import LabelsEvent, TaskEvent, parse_line, parse_time
from pluginexec.types import EventInfo, EventType

HEAD = "2026-11-23 13:29:04.03843805 +0000 UTC plugins.moby"
AT = datetime(2026, 11, 23, 13, 29, 4, 38438, tzinfo=timezone.utc)
EXIT = {"container_id": "p", "id": "p", "pid": 42, "exit_status": 3, "exited_at": "2026-11-23T13:29:04.03843805Z"}


def line(topic: str, payload: Any, head: str = HEAD) -> bytes:
    return f"{head} {topic} {payload if isinstance(payload, str) else json.dumps(payload)}\n".encode()


def exit_event(**changes: Any) -> TaskEvent:
    """Return what is parsed of an exit's line; a change to ``None`` leaves the field out."""
    payload = {key: value for key, value in (EXIT | changes).items() if value is not None}
    event = parse_line(line("/tasks/exit", payload))
    assert isinstance(event, TaskEvent)
    return event


@pytest.mark.parametrize(
    "exited_at",
    [
        pytest.param("2026-11-23T13:29:04.03843805Z", id="1.6"),
        pytest.param({"seconds": 1795440544, "nanos": 38438050}, id="1.7 and 2.1"),
    ],
)
def test_an_exit_is_understood_as_every_ctr_prints_it(exited_at: object) -> None:
    info = EventInfo("p", process_id="p", pid=42, exit_code=3, exited_at=AT)
    assert exit_event(exited_at=exited_at) == TaskEvent("plugins.moby", EventType.EXIT, info)


def test_an_exit_status_that_is_left_out_is_0() -> None:
    assert exit_event(exit_status=None).info.exit_code == 0


def test_the_exit_of_an_exec_names_the_exec() -> None:
    assert exit_event(id="e").info.process_id == "e"


@pytest.mark.parametrize(
    ("topic", "payload", "type", "process_id"),
    [
        pytest.param("/tasks/oom", {"container_id": "p"}, EventType.OOM, "", id="oom"),
        pytest.param("/tasks/start", {"container_id": "p", "pid": 7}, EventType.START, "", id="start"),
        pytest.param(
            "/tasks/exec-added", {"container_id": "p", "exec_id": "e"}, EventType.EXEC_ADDED, "e", id="exec-added"
        ),
    ],
)
def test_the_other_topics_of_a_task_are_understood(
    topic: str, payload: dict[str, Any], type: EventType, process_id: str
) -> None:
    info = EventInfo("p", process_id=process_id, pid=payload.get("pid", 0))
    assert parse_line(line(topic, payload)) == TaskEvent("plugins.moby", type, info)


def test_when_it_was_told_stands_at_the_beginning_of_the_line() -> None:
    assert exit_event(exited_at=None).info.told_at == AT


@pytest.mark.parametrize(
    ("moment", "told_at"),
    [
        pytest.param("2026-11-23 13:29:04", AT.replace(microsecond=0), id="no fraction"),
        pytest.param("2026-02-30 13:29:04", None, id="no such day"),
        pytest.param("x y", None, id="words"),
    ],
)
def test_a_time_of_the_line_itself_needs_no_fraction_and_loses_no_event(moment: str, told_at: datetime | None) -> None:
    event = parse_line(line("/tasks/oom", {"container_id": "p"}, f"{moment} +0000 UTC n"))
    assert isinstance(event, TaskEvent)
    assert event.info.told_at == told_at


@pytest.mark.parametrize(
    ("payload", "labels"),
    [
        pytest.param({"name": "n", "labels": {"a": "b"}}, {"a": "b"}, id="labels"),
        pytest.param({"name": "n"}, {}, id="none"),
        pytest.param({"name": "n", "labels": ["a"]}, {}, id="a list"),
    ],
)
def test_the_labels_of_a_namespace_are_understood(payload: object, labels: dict[str, str]) -> None:
    assert parse_line(line("/namespaces/update", payload)) == LabelsEvent("plugins.moby", labels)


@pytest.mark.parametrize(
    ("value", "microsecond"),
    [
        pytest.param("2026-11-23T13:29:04Z", 0, id="no fraction"),
        pytest.param("2026-11-23T13:29:04.5Z", 500000, id="one digit"),
        pytest.param("2026-11-23T13:29:04.123456789Z", 123456, id="nine digits"),
        pytest.param("2026-11-23T14:29:04.5+01:00", 500000, id="another zone"),
        pytest.param({"seconds": 1795440544}, 0, id="no nanos"),
        pytest.param({"seconds": 1795440544, "nanos": 999999999}, 999999, id="largest nanos"),
    ],
)
def test_a_time_keeps_its_microseconds_and_is_utc(value: object, microsecond: int) -> None:
    parsed = parse_time(value)
    assert parsed == AT.replace(microsecond=microsecond)
    assert parsed is not None
    assert parsed.tzinfo is timezone.utc


def test_nothing_but_nanos_is_the_epoch() -> None:
    assert parse_time({"nanos": 1000}) == datetime(1970, 1, 1, microsecond=1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("yesterday", id="words"),
        pytest.param("2026-02-30T00:00:00Z", id="no such day"),
        pytest.param("2026-11-23T13:29:04.1234567890Z", id="ten digits"),
        pytest.param("2026-11-23T13:29:04", id="no zone"),
        pytest.param("2026-11-23T13:29:04+99:99", id="no such zone"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before year 1 in UTC"),
        pytest.param("٢٠٢٦-11-23T13:29:04Z", id="digits of another script"),
        pytest.param(1795440544, id="number"),
        pytest.param(["2026"], id="list"),
        pytest.param({"seconds": "1"}, id="seconds as text"),
        pytest.param({"seconds": None}, id="no seconds"),
        pytest.param({"seconds": 10**30}, id="huge"),
        pytest.param({"seconds": -(10**12)}, id="before year 1"),
        pytest.param({"seconds": float("nan")}, id="not a number"),
        pytest.param({"seconds": 1, "nanos": []}, id="nanos as list"),
    ],
)
def test_a_time_that_is_not_understood_loses_no_exit(value: object) -> None:
    assert parse_time(value) is None
    assert exit_event(exited_at=value).info == EventInfo("p", process_id="p", pid=42, exit_code=3)


@pytest.mark.parametrize(
    ("rubbish", "reason"),
    [
        pytest.param(b"", "not an event line", id="empty"),
        pytest.param(b"\n", "not an event line", id="newline"),
        pytest.param(b"ctr: rpc error: code = Unavailable desc = transport is closing x y", "not an event", id="words"),
        pytest.param(line("/tasks/exit", EXIT)[:60], "not an event line", id="torn before the payload"),
        pytest.param(line("/tasks/exit", EXIT)[:-9], "not JSON", id="torn in the payload"),
        pytest.param(line("/tasks/exit", EXIT)[70:], "not an event line", id="torn at its beginning"),
        pytest.param(line("/tasks/exit", EXIT, HEAD.replace("+0000", "+0100")), "not an event line", id="not UTC"),
        pytest.param(line("/tasks/exit", EXIT).strip() * 2, "not JSON", id="two in one"),
        pytest.param(b"\xff\xfe\x00 \x80" * 20, "not an event line", id="not UTF-8"),
        pytest.param(line("/tasks/\xff", EXIT).replace(b"\xc3\xbf", b"\xff"), "unknown topic", id="topic not UTF-8"),
        pytest.param(line("/tasks/exit", "[" * 100_000), "not JSON", id="nested beyond measure"),
        pytest.param(line("/tasks/exit", "[" * 100_000 + "]" * 100_000), "not", id="nested and closed"),
        pytest.param(
            line("/tasks/exit", '{"pid": ' + "9" * 10_000 + "}"), "not JSON|without", id="ten thousand digits"
        ),
        pytest.param(line("/tasks/exit", "null"), "not an object", id="null"),
        pytest.param(line("/tasks/exit", [EXIT]), "not an object", id="list"),
        pytest.param(line("/tasks/exit", "3"), "not an object", id="number"),
        pytest.param(line("/tasks/paint", EXIT), "unknown topic", id="unknown topic"),
        pytest.param(line("/containers/create", {"id": "p"}), "unknown topic", id="topic of no task"),
        pytest.param(line("/tasks/exit", {"pid": 1}), "without a container_id", id="no container_id"),
        pytest.param(line("/tasks/exit", EXIT | {"container_id": ""}), "without a container_id", id="empty id"),
        pytest.param(line("/tasks/exit", EXIT | {"container_id": 7}), "without a container_id", id="id a number"),
        pytest.param(line("/tasks/exit", EXIT | {"pid": "42"}), "pid is not a number", id="pid as text"),
        pytest.param(line("/tasks/exit", EXIT | {"pid": None}), "pid is not a number", id="pid null"),
        pytest.param(line("/tasks/exit", EXIT | {"pid": True}), "pid is not a number", id="pid true"),
        pytest.param(line("/tasks/exit", EXIT | {"pid": -1}), "pid is not a number", id="pid negative"),
        pytest.param(line("/tasks/exit", EXIT | {"pid": 1 << 31}), "pid is not a number", id="pid beyond 31 bits"),
        pytest.param(line("/tasks/exit", EXIT | {"exit_status": 256}), "exit_status is not", id="code beyond 255"),
        pytest.param(line("/tasks/exit", EXIT | {"exit_status": 1.5}), "exit_status is not", id="code a fraction"),
        pytest.param(line("/tasks/exit", EXIT | {"exit_status": []}), "exit_status is not", id="code a list"),
        pytest.param(
            line("/tasks/exit", json.dumps(EXIT).replace("42", "1e999")), "pid is not a number", id="infinite pid"
        ),
    ],
)
def test_rubbish_is_a_value_error_with_a_short_reason_and_nothing_else(rubbish: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_line(rubbish)
    assert len(str(caught.value)) < 40  # it is the kind by which the complaints are counted: no part of the line in it


def test_no_line_that_is_cut_off_anywhere_raises_anything_but_a_value_error() -> None:
    whole = line("/tasks/exit", EXIT | {"exited_at": {"seconds": 1, "nanos": 2}})
    for end in range(len(whole) - 1):
        with pytest.raises(ValueError, match=r"not an event line|payload is not JSON"):
            parse_line(whole[:end])


def test_a_process_id_that_is_no_text_is_no_process_of_ours() -> None:
    assert exit_event(id=["p"]).info.process_id == ""
