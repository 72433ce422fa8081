"""Event lines, as hypothesis and the mutator make them: a ``ValueError`` at the most, and no exit lost.

Real: the pipe, and a process that writes rubbish to it; a script plays ``ctr``. What is mutated, real ones printed.
"""

from __future__ import annotations

import io
import logging
import random
import subprocess
import threading
from collections.abc import Iterator, Sequence
from datetime import timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginexec import Unavailable
from pluginexec.containerd.ctr import Completed, Ctr, Subprocesses, Watch
from pluginexec.containerd.event_parser import LabelsEvent, TaskEvent, parse_line
from pluginexec.containerd.events import EventStream
from pluginexec.types import EventInfo, EventType
from tests.fuzz.cases import CASES, feed, many
from tests.fuzz.corpus import EVENT_LINES
from tests.fuzz.mutator import Mutator
from tests.support.fakes import fake_command
from tests.support.harness import wait_until

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(300)]

NAMESPACE = "plugins.moby"
GOOD = (
    '2026-11-23 22:23:14.5 +0000 UTC plugins.moby /tasks/exit {{"container_id":"good-{0}","id":"good-{0}","pid":{0},'
    '"exit_status":42,"exited_at":"2026-11-23T22:23:14.566424445Z"}}\n'
)
HEAD = "2026-11-23 22:23:14.5 +0000 UTC plugins.moby"
TOPICS = [*(f"/tasks/{type.value}" for type in EventType), "/namespaces/update", "/containers/create", "", "/tasks/"]
# fmt: off
FIELDS = ("container_id", "id", "exec_id", "pid", "exit_status", "exited_at", "labels", "name")
VALUES = (
    '"fz-a"', '""', '"\\ud800"', '"\\u0000"', "null", "true", "0", "42", "255", "256", "2147483648", "-1", "1.5",
    "1e999", "NaN", "9" * 4000, "9" * 5000, "[]", "[" * 2000, "{}", '{"seconds":1795472597,"nanos":919014133}',
    '{"seconds":"1"}', '{"seconds":1e300}', '{"nanos":[]}', '{"pluginexec.ready":"nonce"}', '"2026-11-23T22:23:14.5Z"',
    '"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"', "'", "\x1b[2J",
)
# fmt: on
PAIRS = [f'"{field}":{value}' for field in FIELDS for value in VALUES]
payloads = st.lists(st.sampled_from(PAIRS), max_size=4).map(lambda pairs: "{" + ",".join(pairs) + "}")
lines = st.one_of(
    st.builds(lambda topic, payload: f"{HEAD} {topic} {payload}".encode(), st.sampled_from(TOPICS), payloads),
    *(st.binary(max_size=100), st.text(max_size=30).map(lambda text: f"{HEAD} {text}".encode(errors="replace"))),
)


def check_line(line: bytes) -> None:
    """Check that a line is a ``ValueError`` with one of a few reasons, or an event that can be relied on."""
    try:
        event = parse_line(line)
    except ValueError as error:
        assert 0 < len(str(error)) < 40, "it is the kind by which complaints are counted"  # noqa: PT017
        return
    assert isinstance(event.namespace, str)
    if isinstance(event, LabelsEvent):
        assert isinstance(event.labels, dict)
        return
    check_info(event.info)


def check_info(info: EventInfo) -> None:
    assert info.container_id
    assert {type(info.container_id), type(info.process_id)} == {str}
    assert type(info.pid) is type(info.exit_code) is int
    assert 0 <= info.pid < 1 << 31
    assert 0 <= info.exit_code <= 255, "ExitStatus promises it"
    assert info.exited_at is None or info.exited_at.tzinfo is timezone.utc


@many
@given(lines)
def test_whatever_a_line_says_it_raises_a_value_error_at_the_most(line: bytes) -> None:
    check_line(line)


def test_whatever_befell_a_real_line_it_raises_a_value_error_at_the_most(dice: random.Random) -> None:
    feed(dice, EVENT_LINES, check_line)


class Backend:
    """A backend that remembers, and that raises on some events, as a backend may."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        if event_type is EventType.EXIT:
            self.ids.append(id)
        if event_type is EventType.PAUSED:
            raise RuntimeError("a backend that fails")

    def events_connected(self) -> None:
        """The stream never stands here."""

    @property
    def good(self) -> list[str]:
        return [id for id in self.ids if id.startswith("good-")]


class NoProcesses:
    """A runner that starts nothing."""

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        raise Unavailable("nothing runs here")

    def start(self, argv: Sequence[str], *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        raise Unavailable("nothing runs here")


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def stream(backend: Backend) -> Iterator[EventStream]:
    """A stream without a child of its own, to be given one."""
    logging.getLogger("pluginexec").setLevel(logging.CRITICAL)
    stream = EventStream(Ctr(NoProcesses(), "ctr", "/s", NAMESPACE, 1.0), backend)
    yield stream
    stream.close()
    logging.getLogger("pluginexec").setLevel(logging.NOTSET)


def count_malformed(data: bytes) -> int:
    """Count the lines that do not parse."""
    count = 0
    for line in io.BytesIO(data):
        try:
            parse_line(line)
        except ValueError:
            count += 1
    return count


def read(stream: EventStream, data: bytes) -> None:
    """Have a stream read a child that prints ``data`` and ends."""
    child: Any = SimpleNamespace(stdout=io.BytesIO(data))
    stream._read(child, "nonce", threading.Event())


@many
@given(lines)
def test_good_exits_around_rubbish_are_delivered_once_and_the_rubbish_is_counted(
    stream: EventStream, backend: Backend, line: bytes
) -> None:
    stream.malformed = 0
    backend.ids.clear()
    read(stream, GOOD.format(0).encode() + line + b"\n" + GOOD.format(1).encode())
    assert backend.good == ["good-0", "good-1"]
    assert stream.malformed == count_malformed(line + b"\n")


def test_a_ctr_that_prints_rubbish_for_ever_loses_no_good_exit(
    dice: random.Random, backend: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rubbish = [case + b"\n" for case in Mutator(dice, EVENT_LINES).cases(CASES)]
    rubbish.insert(dice.randrange(CASES), b"x" * 3_000_000 + b"\n")  # longer than any line that is kept
    rubbish.insert(0, b"\x1b[2J\n")  # the first of its kind, which is logged
    printed, count = [], 0
    for line in rubbish:
        printed.append(line)
        if dice.random() < 0.1:
            printed.append(GOOD.format(count).encode())
            count += 1
    (tmp_path / "lines").write_bytes(b"".join([*printed, GOOD.format(count).encode()]))
    # Taken once, should the stream be started again.
    script = 'case "$*" in *" events "*) mv $here/lines $here/taken && cat $here/taken; exec sleep 1000;; esac'
    ctr = Ctr(Subprocesses(), fake_command(tmp_path / "ctr", script), "/s", NAMESPACE, 30.0)
    stream = EventStream(ctr, cast(Any, backend))
    try:
        wait_until(lambda: f"good-{count}" in backend.ids, "the last exit", timeout=60)
    finally:
        stream.close()
    assert backend.good == [f"good-{n}" for n in range(count + 1)]
    assert stream.malformed > CASES / 2
    assert all(record.getMessage().isprintable() for record in caplog.records), "a log may be shown on a terminal"


def test_the_mutator_leaves_some_lines_whole_enough_to_be_events(dice: random.Random) -> None:
    understood = 0
    for case in Mutator(dice, EVENT_LINES).cases(1000):
        try:
            understood += isinstance(parse_line(case), TaskEvent)
        except ValueError:
            continue
    assert 20 < understood < 900, "it must reach what lies behind the first check, and break something"
