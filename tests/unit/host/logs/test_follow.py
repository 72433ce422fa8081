"""Following a log while it is written, and rotated. Real: the files and threads; the logger is its own code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec.host.logs import reader as logs
from pluginexec.host.logs.reader import Entry, follow, json_path, raw_path
from pluginexec.streams.json_logger import JsonLog
from tests.support.harness import PATIENCE, held_descriptors, wait_until


class Follower:
    """Follows in a thread of its own, until ``end``."""

    def __init__(self, directory: Path, driver: str = "json-file", **wanted: object) -> None:
        self.entries: list[Entry] = []
        self._over = threading.Event()
        source = follow(directory, "x", driver, self._over.is_set, **wanted)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=lambda: self.entries.extend(source))
        self.thread.start()

    @property
    def data(self) -> bytes:
        return b"".join(entry.data for entry in self.entries)

    def end(self) -> bytes:
        """Let the plugin have ended, and return all that was given."""
        self._over.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.data


Start = Callable[..., Follower]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(logs, "POLL", 0.002)
    before = held_descriptors()
    followers: list[Follower] = []

    def start(driver: str = "json-file", **wanted: object) -> Follower:
        followers.append(Follower(tmp_path, driver, **wanted))
        return followers[-1]

    yield start
    for follower in followers:
        follower.end()
    assert held_descriptors() == before


def new_log(directory: Path, max_size: int = -1, max_file: int = 3) -> JsonLog:
    return JsonLog(str(json_path(directory, "x")), max_size, max_file)


def test_what_is_there_and_what_comes_is_given_to_the_last_line_without_a_newline(start: Start, tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.write("stdout", b"before\n")
    follower = start()
    wait_until(lambda: follower.data == b"before\n", "what was there")
    log.write("stdout", b"after\nlast")
    wait_until(lambda: follower.data == b"before\nafter\n", "what came")
    log.close()
    assert follower.end() == b"before\nafter\nlast"


def test_a_log_that_is_not_there_yet_is_waited_for(start: Start, tmp_path: Path) -> None:
    follower = start()
    log = new_log(tmp_path)
    log.write("stdout", b"hello\n")
    wait_until(lambda: follower.data == b"hello\n", "the first line")
    log.close()


@pytest.mark.parametrize("tail", [0, 1])
def test_a_tail_may_come_first(start: Start, tmp_path: Path, tail: int) -> None:
    log = new_log(tmp_path)
    log.write("stdout", b"one\ntwo\n")
    follower = start(tail=tail)
    log.write("stdout", b"three\n")
    log.close()
    assert follower.end() == b"two\n" * tail + b"three\n"


@pytest.mark.parametrize("max_file", [2, 3, 10])
def test_rotation_loses_nothing_and_gives_nothing_twice(start: Start, tmp_path: Path, max_file: int) -> None:
    log = new_log(tmp_path, 20_000, max_file)
    follower = start()
    sent = 0
    for number in range(3000):
        log.write("stdout", b"%d\n" % number)
        sent += len(b"%d\n" % number)
        if number % 100 == 0:  # so that it is never behind by all files
            wait_until(lambda: len(follower.data) == sent, "the follower")  # noqa: B023
    log.close()
    assert follower.end() == b"".join(b"%d\n" % number for number in range(3000))


def test_several_rotations_between_two_looks_lose_nothing(tmp_path: Path) -> None:
    log = new_log(tmp_path, 150, 10)
    asked = 0

    def ended() -> bool:
        nonlocal asked
        for number in range(8):
            log.write("stdout", b"%d %d\n" % (asked, number))
        asked += 1
        return asked == 5

    log.write("stdout", b"first\n")
    found = b"".join(entry.data for entry in follow(tmp_path, "x", "json-file", ended))
    log.close()
    assert found == b"first\n" + b"".join(b"%d %d\n" % (look, number) for look in range(5) for number in range(8))


def test_what_is_written_just_before_a_rotation_is_read_from_the_old_file(tmp_path: Path) -> None:
    log = new_log(tmp_path, 300, 1)
    log.write("stdout", b"first\n")
    asked = 0

    def ended() -> bool:
        nonlocal asked
        asked += 1
        log.write("stdout", b"%d old\n" % asked)  # to the file that the follower has open
        log.write("stdout", b"%d new, which is longer than there is room for%s\n" % (asked, b"." * 60))
        return asked == 20

    found = [entry.data.split(b",")[0].strip() for entry in follow(tmp_path, "x", "json-file", ended)]
    log.close()
    assert found[1:] == [b"%d %s" % (look, which) for look in range(1, 21) for which in (b"old", b"new")]


def test_one_who_reads_slower_than_the_log_is_rotated_loses_nothing(tmp_path: Path) -> None:
    log = new_log(tmp_path, 50_000, 2)
    written = 0

    def write(count: int) -> None:
        nonlocal written
        for written in range(written + 1, written + count + 1):  # noqa: B020
            log.write("stdout", b"%d\n" % written)

    write(300)
    found = []
    for entry in follow(tmp_path, "x", "json-file", lambda: written >= 8000):
        found.append(int(entry.data))
        if written < 8000:
            write(5)  # five times as much as is read
    log.close()
    assert found == list(range(1, written + 1))


def test_being_overtaken_by_all_files_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = new_log(tmp_path, 150, 2)
    log.write("stdout", b"first\n")
    asked = 0

    def ended() -> bool:
        nonlocal asked
        asked += 1
        log.write("stdout", b"x\n" * 20)
        return asked == 2

    assert len(list(follow(tmp_path, "x", "json-file", ended))) < 41
    log.close()
    assert "rotated faster than it could be read" in caplog.text


def test_half_an_entry_is_waited_for_and_one_that_is_taken_away_is_not_given(start: Start, tmp_path: Path) -> None:
    path = json_path(tmp_path, "x")
    whole = b'{"log":"%s\\n","stream":"stdout","time":"2026-11-24T01:02:03.123456789Z"}\n'
    path.write_bytes(whole % b"one" + b'{"log":"ha')
    follower = start()
    wait_until(lambda: follower.data == b"one\n", "the first")
    with path.open("r+b") as file:
        file.truncate(len(whole % b"one"))
    with path.open("ab") as file:
        file.write(whole % b"two")
    assert follower.end() == b"one\ntwo\n"


def test_a_long_line_that_comes_bit_by_bit_is_whole(start: Start, tmp_path: Path) -> None:
    log = new_log(tmp_path, 30_000, 3)
    follower = start()
    line = b"0123456789" * 20_000 + b"\n"
    for begin in range(0, len(line), 5000):
        log.write("stdout", line[begin : begin + 5000])
        wait_until(lambda: len(follower.data) >= begin - 20_000, "the follower")  # noqa: B023
    log.close()
    assert follower.end() == line


def test_it_ends_when_until_is_over(start: Start, tmp_path: Path) -> None:
    follower = start(until=time.time_ns() + 50_000_000)
    follower.thread.join(PATIENCE)
    assert not follower.thread.is_alive()


def test_a_raw_log_is_followed_byte_for_byte(start: Start, tmp_path: Path) -> None:
    follower = start("raw")
    with raw_path(tmp_path, "stdout").open("wb", buffering=0) as out:
        out.write(b"no end yet")
        wait_until(lambda: follower.data == b"no end yet", "the first bytes")
        out.write(b"\0\xff")
    raw_path(tmp_path, "stderr").write_bytes(b"err")
    follower.end()
    for stream, expected in (("stdout", b"no end yet\0\xff"), ("stderr", b"err")):
        assert b"".join(entry.data for entry in follower.entries if entry.stream == stream) == expected
