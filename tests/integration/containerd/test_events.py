"""The stream of events.

Real: containerd, ``ctr`` and a container, wherever the real ones can show it; tests that kill or stop containerd do so
to one of their own. A script plays ``ctr`` where it must hang, print rubbish, or fail in an odd way.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Remote
from pluginexec.containerd import events as module
from pluginexec.containerd.client import Client
from pluginexec.containerd.ctr import Ctr, Subprocesses
from pluginexec.containerd.events import EventStream
from pluginexec.streams.shell_logger import NO_LOGGER
from pluginexec.types import EventInfo, EventType
from tests.support.harness import live_children, our_threads, suspend, wait_until

Shell = Callable[..., dict[str, Any]]


class Recorder:
    """A backend that remembers, and that raises what it is told to."""

    def __init__(self) -> None:
        self.connected = 0
        self.events: list[tuple[EventType, EventInfo]] = []
        self.failures: list[Exception] = []

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        assert id == event_info.container_id
        self.events.append((event_type, event_info))
        if self.failures:
            raise self.failures.pop()

    def events_connected(self) -> None:
        self.connected += 1
        if self.failures:
            raise self.failures.pop()

    @property
    def ids(self) -> list[str]:
        return [info.container_id for _, info in self.events]


@pytest.fixture
def backend() -> Recorder:
    return Recorder()


@contextmanager
def listening(remote: Remote, backend: Recorder) -> Iterator[tuple[Client, EventStream]]:
    """A client, and a stream of events that stands."""
    client = remote.new_client(PLUGIN_NAMESPACE)
    stream = EventStream(client.ctr, backend)
    try:
        wait_until(lambda: backend.connected, "the standing of the stream")
        yield client, stream
    finally:
        stream.close()


def event_child() -> psutil.Process:
    """Return the one ``ctr events`` of ours."""
    (child,) = (process for process in psutil.Process().children() if "events" in process.cmdline())
    return child


def event_threads() -> set[str]:
    """Return which of a stream's two threads run."""
    return our_threads() & {"pluginexec-events", "pluginexec-events-reader"}


@pytest.fixture
def run_to_its_end(
    shell: Shell, new_id: Callable[[], str], tmp_path: Path, root_dir: Path
) -> Callable[[Client, Recorder], EventInfo]:
    """Run a container that ends with 7; return what the event of its exit says."""

    def run(client: Client, backend: Recorder) -> EventInfo:
        id = new_id()
        config = tmp_path / "config.json"
        config.write_text(json.dumps(shell(id, "exit 7")))
        client.run(id, config=config, runc_root=root_dir / "runc", pid_file=tmp_path / "pid", io=NO_LOGGER)
        wait_until(lambda: id in backend.ids, "the event of the exit")
        client.delete_container(id)
        (info,) = (info for type, info in backend.events if type is EventType.EXIT and info.container_id == id)
        assert info.pid == int((tmp_path / "pid").read_text())
        return info

    return run


RunToItsEnd = Callable[[Client, Recorder], EventInfo]


@pytest.mark.usefixtures("clean_namespace")
def test_from_the_moment_the_stream_stands_the_exit_of_a_container_arrives(
    remote: Remote, backend: Recorder, run_to_its_end: RunToItsEnd
) -> None:
    with listening(remote, backend) as (client, _):
        info = run_to_its_end(client, backend)
    assert (info.process_id, info.exit_code) == (info.container_id, 7)
    assert info.exited_at is not None
    assert abs(datetime.now(timezone.utc) - info.exited_at) < timedelta(minutes=1)
    assert backend.connected == 1


@pytest.mark.usefixtures("clean_namespace")
def test_after_its_child_was_killed_the_stream_stands_again(
    remote: Remote, backend: Recorder, run_to_its_end: RunToItsEnd
) -> None:
    with listening(remote, backend) as (client, _):
        event_child().kill()
        wait_until(lambda: backend.connected == 2, "the standing of the second stream")
        assert run_to_its_end(client, backend).exit_code == 7


def test_a_child_that_hangs_is_replaced_when_it_is_distrusted(
    remote: Remote, backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DISTRUST_AFTER", 0.0)
    with listening(remote, backend) as (_, stream):
        hung = event_child()
        suspend(hung)
        stream.distrust()
        wait_until(lambda: backend.connected == 2, "the standing of the second stream")
        assert event_child() != hung


def test_a_stream_that_has_just_begun_to_stand_is_trusted(
    remote: Remote, backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DISTRUST_AFTER", 600.0)
    with listening(remote, backend) as (_, stream):
        child = event_child()
        stream.distrust()
        assert event_child() == child  # killing waits for the end of the killed


def test_after_containerd_was_killed_the_stream_stands_again_and_events_arrive(
    mortal: Containerd, backend: Recorder, run_to_its_end: RunToItsEnd
) -> None:
    with listening(mortal.remote, backend) as (client, _):
        assert mortal.pid is not None
        os.kill(mortal.pid, signal.SIGKILL)
        wait_until(lambda: backend.connected == 2, "the standing of the second stream")
        assert run_to_its_end(client, backend).exit_code == 7


def test_a_containerd_that_was_stopped_and_comes_back_is_found_again(
    mortal: Containerd, backend: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(mortal.remote, backend):
        mortal.stop()
        wait_until(lambda: "no events from containerd" in caplog.text, "the complaint")
        mortal.start()
        wait_until(lambda: backend.connected == 2, "the standing of the second stream")


def test_a_stream_is_closed_while_containerd_hangs(mortal: Containerd, backend: Recorder) -> None:
    assert mortal.pid is not None
    daemon = psutil.Process(mortal.pid)
    with listening(mortal.remote, backend):
        suspend(daemon)
    daemon.resume()
    assert not event_threads()


def test_a_stream_is_closed_while_containerd_is_not_there(tmp_path: Path, backend: Recorder) -> None:
    children = live_children()
    stream = EventStream(Remote(str(tmp_path / "missing.sock")).new_client(PLUGIN_NAMESPACE).ctr, backend)
    wait_until(lambda: len(live_children() - children) == 2, "a stream and a marker under way")
    stream.close()
    assert not backend.connected
    assert live_children() == children
    assert not event_threads()


HEAD = "2026-11-23 13:29:04.5 +0000 UTC"
EXIT_OF = HEAD + ' n /tasks/exit {{"container_id":"{0}","id":"{0}","pid":1}}\n'
# Behind the binary come six arguments that are always there; then the command.
FAKE = """\
#!/bin/sh
cd '{directory}' || exit
case $7 in
events)
    echo $$ >>starts
    {events} ;;
namespaces)
    set -- "${{10#*=}}"
    {mark} ;;
esac
"""
STAND = f"""printf '{HEAD} n /namespaces/update {{"labels":{{"pluginexec.ready":"%s"}}}}\\n' "$1" >feed"""
FEED = "exec cat <>feed"


class FakeCtr:
    """A script that plays ``ctr``: what is written to ``feed`` comes out of its ``events``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        os.mkfifo(directory / "feed")
        self._feed = os.open(directory / "feed", os.O_RDWR)
        self.behave()
        self.ctr = Ctr(Subprocesses(), str(directory / "ctr"), "/run/nowhere.sock", "n", 5.0)

    def behave(self, *, events: str = FEED, mark: str = STAND) -> None:
        """Replace the script, whole."""
        new = self._directory / "ctr.new"
        new.write_text(FAKE.format(directory=self._directory, events=events, mark=mark))
        new.chmod(0o755)
        new.replace(self._directory / "ctr")

    def say(self, *lines: str | bytes) -> None:
        for line in lines:
            data = line if isinstance(line, bytes) else line.encode()
            while data:
                data = data[os.write(self._feed, data) :]

    @property
    def starts(self) -> list[int]:
        """The pids of all the ``events`` so far."""
        path = self._directory / "starts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def close(self) -> None:
        os.close(self._feed)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCtr]:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.02)
    fake = FakeCtr(tmp_path)
    yield fake
    fake.close()


@pytest.fixture
def listen(fake: FakeCtr, backend: Recorder) -> Iterator[Callable[[], EventStream]]:
    streams: list[EventStream] = []

    def start() -> EventStream:
        streams.append(EventStream(fake.ctr, backend))
        return streams[-1]

    yield start
    for stream in streams:
        stream.close()


Listen = Callable[[], EventStream]


@pytest.mark.parametrize(
    "mark",
    [
        pytest.param(":", id="nothing shows"),
        pytest.param("set -- other; " + STAND, id="the marker of another stream"),
        pytest.param(STAND.replace(" n ", " m "), id="the marker in another namespace"),
        pytest.param("exec sleep 1000", id="marking hangs"),
        pytest.param("echo 'ctr: no such thing' >&2; exit 1", id="marking fails"),
    ],
)
def test_a_stream_without_its_marker_does_not_stand_and_another_is_tried(
    mark: str, fake: FakeCtr, listen: Listen, backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_AFTER", 0.1)
    fake.ctr = dataclasses.replace(fake.ctr, timeout=1.0)
    fake.behave(mark=mark)
    listen()
    wait_until(lambda: len(fake.starts) >= 3, "the third try")
    assert not backend.connected
    monkeypatch.setattr(module, "STUCK_AFTER", 10.0)
    fake.behave()
    wait_until(lambda: backend.connected, "the standing of the stream")


def test_a_stream_that_waits_for_its_marker_is_closed_at_once(fake: FakeCtr, listen: Listen) -> None:
    children = live_children()
    fake.behave(events="exec sleep 1000", mark=":")
    stream = listen()
    wait_until(lambda: fake.starts, "the start")
    stream.close()
    stream.close()
    assert not event_threads()
    assert live_children() == children


def test_a_stream_whose_marker_hangs_is_closed_at_once(fake: FakeCtr, listen: Listen) -> None:
    fake.ctr = dataclasses.replace(fake.ctr, timeout=1000.0)
    children = live_children()
    fake.behave(mark="touch marking; exec sleep 1000")
    stream = listen()
    wait_until((fake_directory(fake) / "marking").exists, "the marker")
    stream.close()
    assert not event_threads()
    assert live_children() == children


def test_a_ctr_that_is_missing_is_warned_of_of_by_name_and_events_come_once_it_is_there(
    fake: FakeCtr, listen: Listen, backend: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    binary = Path(fake.ctr.binary)
    binary.unlink()
    listen()
    wait_until(lambda: f"cannot run '{binary}'" in caplog.text, "the complaint")
    fake.behave()
    wait_until(lambda: backend.connected, "the standing of the stream")


def test_a_stream_that_has_just_been_started_again_is_trusted_before_it_stands(
    fake: FakeCtr, listen: Listen, backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream = listen()
    wait_until(lambda: backend.connected, "the standing of the stream")
    now[0] += 1000.0
    fake.behave(mark="touch marked")
    stream.distrust()
    wait_until((fake_directory(fake) / "marked").exists, "the second stream")
    stream.distrust()
    assert psutil.Process(fake.starts[1]).status() != psutil.STATUS_ZOMBIE
    now[0] += 1000.0
    fake.behave()
    stream.distrust()
    wait_until(lambda: backend.connected == 2, "the standing of the third stream")


def fake_directory(fake: FakeCtr) -> Path:
    return Path(fake.ctr.binary).parent


def test_rubbish_is_counted_and_logged_once_per_kind_and_what_comes_after_it_arrives(
    fake: FakeCtr, listen: Listen, backend: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    stream = listen()
    wait_until(lambda: backend.connected, "the standing of the stream")
    exit = EXIT_OF.format("p")
    fake.say(
        *("rubbish\n", b"\xff\xfe\0\n", exit[:40] + "\n", "\n"),
        *(exit[:-5] + "\n", exit.replace("{", "[" * 50_000)),
        *(exit.replace("/exit", "/paint"), exit.replace('"pid":1', '"pid":"1"')),
        *(exit[:30], exit[30:]),
    )
    wait_until(lambda: backend.ids == ["p"], "the event after the rubbish")
    assert stream.malformed == 8
    kinds = [record.getMessage().split("(")[1].split(")")[0] for record in caplog.records]
    assert kinds == ["not an event line", "payload is not JSON", "unknown topic", "pid is not a number"]


def test_a_line_without_end_is_not_kept_whole(
    fake: FakeCtr, listen: Listen, backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_LINE", 1000)
    stream = listen()
    wait_until(lambda: backend.connected, "the standing of the stream")
    fake.say("x" * 9999 + "\n", EXIT_OF.format("p"))
    wait_until(lambda: backend.ids == ["p"], "the event after it")
    assert stream.malformed == 10


def test_events_of_other_namespaces_are_ignored(fake: FakeCtr, listen: Listen, backend: Recorder) -> None:
    stream = listen()
    wait_until(lambda: backend.connected, "the standing of the stream")
    fake.say(EXIT_OF.format("foreign").replace(" n ", " m "), EXIT_OF.format("ours"))
    wait_until(lambda: "ours" in backend.ids, "our event")
    assert backend.ids == ["ours"]
    assert stream.malformed == 0


def test_a_backend_that_raises_is_logged_and_gets_the_next_event(
    fake: FakeCtr, listen: Listen, backend: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    listen()
    wait_until(lambda: backend.connected, "the standing of the stream")
    backend.failures.append(KeyError("p"))
    fake.say(EXIT_OF.format("p"), EXIT_OF.format("q"))
    wait_until(lambda: backend.ids == ["p", "q"], "both events")
    assert [record.getMessage() for record in caplog.records] == ["event of p was not processed"]
    assert len(fake.starts) == 1


def test_a_backend_that_could_not_be_told_that_the_stream_stands_is_told_of_another(
    fake: FakeCtr, listen: Listen, backend: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failures += [KeyError("second"), KeyError("first")]
    listen()
    wait_until(lambda: backend.connected == 3, "the standing of the third stream")
    fake.say(EXIT_OF.format("p"))
    wait_until(lambda: backend.ids == ["p"], "the event")
    assert [record.getMessage() for record in caplog.records] == ["the event stream failed"]


def test_a_stream_that_can_get_no_thread_is_tried_again(
    fake: FakeCtr, listen: Listen, backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    refused: list[threading.Thread] = []

    def sparingly(thread: threading.Thread) -> None:
        if thread.name == "pluginexec-events-reader" and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", sparingly)
    listen()
    wait_until(lambda: backend.connected, "the standing of the stream")
    assert len(refused) == 2


def test_a_containerd_that_is_away_for_long_is_one_complaint_of_each_kind_until_it_is_back(
    fake: FakeCtr, listen: Listen, backend: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    away = "echo 'ctr: failed to dial \"S\": connect: connection refused' >&2; exit 1"

    def go_away() -> None:
        starts = len(fake.starts)
        fake.behave(events=away, mark=away)
        for pid in fake.starts[-1:]:
            psutil.Process(pid).kill()
        wait_until(lambda: len(fake.starts) > starts + 5, "five tries")

    def complaints() -> list[str]:
        said = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return sorted(message[:26] for message in said if "event" in message)

    once = ["event line skipped (not an", "no events from containerd:"]
    fake.behave(events=away, mark=away)
    listen()
    go_away() if fake.starts else wait_until(lambda: len(fake.starts) > 5, "five tries")
    assert complaints() == once
    fake.behave()
    wait_until(lambda: backend.connected, "the standing of the stream")
    go_away()
    assert complaints() == once


def test_no_event_is_delivered_after_the_close(fake: FakeCtr, listen: Listen, backend: Recorder) -> None:
    stream = listen()
    wait_until(lambda: backend.connected, "the standing of the stream")
    fake.say(*(EXIT_OF.format(f"p{number}") for number in range(500)))
    wait_until(lambda: backend.ids, "the first event")
    stream.close()
    told = len(backend.events)
    assert not event_threads()
    assert len(backend.events) == told
