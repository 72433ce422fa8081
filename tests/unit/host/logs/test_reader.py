"""Reading logs as they lie there. Real: the files, written by the logger's own code; there is no plugin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pluginexec import InvalidArgument
from pluginexec.host.logs import files as logfiles
from pluginexec.host.logs.reader import Entry, json_path, raw_path, read
from pluginexec.host.timestamps import nanoseconds, parse_when
from pluginexec.streams.json_logger import JsonLog
from tests.support.harness import held_descriptors

BEGIN = datetime(2026, 11, 24, 1, 0, 0, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _closes_every_file() -> Iterator[None]:
    before = held_descriptors()
    yield
    assert held_descriptors() == before


@pytest.fixture
def log(tmp_path: Path) -> Iterator[JsonLog]:
    log = JsonLog(str(json_path(tmp_path, "x")), 3000, 100)
    yield log
    log.close()


def data(entries: Iterator[Entry], stream: str | None = None) -> bytes:
    return b"".join(entry.data for entry in entries if stream in (None, entry.stream))


def after(seconds: int) -> int:
    """Return a time, in nanoseconds, so many seconds after ``BEGIN``."""
    return nanoseconds(BEGIN) + seconds * 10**9


def write_at(path: Path, *entries: tuple[float, str, str]) -> None:
    """Write entries with times of the test's own: seconds after ``BEGIN``."""
    with path.open("a") as file:
        for seconds, stream, text in entries:
            time = (BEGIN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
            file.write(json.dumps({"log": text, "stream": stream, "time": time}) + "\n")


def test_all_files_are_read_the_oldest_first(log: JsonLog, tmp_path: Path) -> None:
    for number in range(1000):
        log.write("stdout", b"%d\n" % number)
    log.write("stdout", b"last")
    log.close()
    assert len(list(tmp_path.iterdir())) > 12  # so that .10 comes before .9
    entries = list(read(tmp_path, "x", "json-file"))
    assert [entry.data for entry in entries] == [*(b"%d\n" % number for number in range(1000)), b"last"]
    assert [entry.time for entry in entries] == sorted(entry.time or "" for entry in entries)


@pytest.mark.parametrize("count", [0, 1, 2, 37, 38, 500, 1001, 5000])
def test_the_tail_is_the_last_lines_over_all_files(log: JsonLog, tmp_path: Path, count: int) -> None:
    for number in range(1000):
        log.write("stdout", b"%d\n" % number)
    log.write("stdout", b"last")
    log.close()
    lines = [*(b"%d\n" % number for number in range(1000)), b"last"]
    found = [entry.data for entry in read(tmp_path, "x", "json-file", tail=count)]
    assert found == (lines[-count:] if count else [])


@pytest.mark.parametrize("block", [100, 1 << 20])
def test_a_long_line_comes_whole_though_another_stream_speaks_in_between(
    log: JsonLog, tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "_BLOCK", max(block, 20_000))
    long = b"x" * 100_000 + b"\n"
    log.write("stdout", b"before\n")
    log.write("stdout", long[:50_000])
    log.write("stderr", b"err\n")
    log.write("stdout", long[50_000:])
    log.write("stdout", b"after\n")
    log.close()
    expected = [("stdout", b"before\n"), ("stderr", b"err\n"), ("stdout", long), ("stdout", b"after\n")]
    assert [(entry.stream, entry.data) for entry in read(tmp_path, "x", "json-file")] == expected
    for count in range(5):
        found = [(entry.stream, entry.data) for entry in read(tmp_path, "x", "json-file", tail=count)]
        assert found == expected[len(expected) - count :]


def test_a_line_that_is_too_long_to_be_put_together_comes_in_parts(tmp_path: Path) -> None:
    log = JsonLog(str(json_path(tmp_path, "x")))
    line = b"x" * (17 << 20) + b"\n"
    log.write("stdout", line)
    log.close()
    entries = list(read(tmp_path, "x", "json-file"))
    assert 2 <= len(entries) <= 3
    assert b"".join(entry.data for entry in entries) == line


def test_lines_that_are_torn_or_not_ours_are_skipped(log: JsonLog, tmp_path: Path) -> None:
    log.write("stdout", b"one\n")
    with json_path(tmp_path, "x").open("ab") as file:
        file.write(b"\n".join([b"", b"no json", b"[]", b"null", b'{"log":5}', b'{"log":"a","stream":"b"}', b"\xff\0"]))
        file.write(b"\n" + b'{"log":"x","stream":[],"time":"x"}\n' + b"[" * 100_000 + b"\n" + b"y" * (3 << 20) + b"\n")
    log.write("stdout", b"two\n")
    with json_path(tmp_path, "x").open("ab") as file:
        file.write(b'{"log":"half')
    assert data(read(tmp_path, "x", "json-file")) == b"one\ntwo\n"
    assert data(read(tmp_path, "x", "json-file", tail=2)) == b"one\ntwo\n"


@pytest.mark.parametrize("tail", [None, 1])
def test_one_stream_can_be_had_alone_and_the_tail_is_its_own(log: JsonLog, tmp_path: Path, tail: int | None) -> None:
    log.write("stdout", b"out\n")
    log.write("stderr", b"err\n")
    assert data(read(tmp_path, "x", "json-file", streams=("stdout",), tail=tail)) == b"out\n"
    assert data(read(tmp_path, "x", "json-file", streams=("stderr",), tail=tail)) == b"err\n"


@pytest.mark.parametrize("tail", [None, 100])
def test_since_and_until_leave_out_what_is_older_and_newer(tmp_path: Path, tail: int | None) -> None:
    write_at(json_path(tmp_path, "x"), *((number, "stdout", str(number)) for number in range(10)))
    between: dict[str, Any] = {"since": after(3), "until": after(6)}
    assert data(read(tmp_path, "x", "json-file", tail=tail, **between)) == b"3456"
    assert data(read(tmp_path, "x", "json-file", tail=2, **between)) == b"56"


def test_a_rotation_while_the_files_are_opened_makes_none_be_missed(
    log: JsonLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b"." * 2900 + b"%d\n"  # one fills a file
    for number in range(3):
        log.write("stdout", line % number)
    opened, rotated = logfiles.LogFile.__init__, list[Path]()

    def open_and_rotate(file: logfiles.LogFile, path: Path) -> None:
        opened(file, path)
        if path.name.endswith(".2") and not rotated:
            rotated.append(path)
            log.write("stdout", line % 3)

    monkeypatch.setattr(logfiles.LogFile, "__init__", open_and_rotate)
    assert data(read(tmp_path, "x", "json-file")) == b"".join(line % number for number in range(4))


def test_there_may_be_no_log_yet(tmp_path: Path) -> None:
    for driver in ("json-file", "raw"):
        assert list(read(tmp_path, "x", driver)) == []
        assert list(read(tmp_path / "missing", "x", driver, tail=1)) == []


@pytest.mark.parametrize("streams", [("stdout", "stderr"), ("stderr",)])
def test_a_raw_log_is_read_byte_for_byte(tmp_path: Path, streams: tuple[str, ...]) -> None:
    for stream in ("stdout", "stderr"):
        raw_path(tmp_path, stream).write_bytes(stream.encode() + b"\0\xff\r\nno end")
    expected = [Entry(None, stream, stream.encode() + b"\0\xff\r\nno end") for stream in streams]
    assert list(read(tmp_path, "x", "raw", streams=streams)) == expected


@pytest.mark.parametrize("end", [b"", b"last"])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_the_tail_of_a_raw_log_is_counted_in_each_file(
    tmp_path: Path, block: int, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "_BLOCK", block)
    lines = [*(b"%d\n" % number for number in range(20)), *([end] if end else [])]
    for stream in ("stdout", "stderr"):
        raw_path(tmp_path, stream).write_bytes(b"".join(lines))
    for count in (0, 1, 2, 19, 20, 21, 50):
        expected = b"".join(lines[-count:] if count else [])
        for stream in ("stdout", "stderr"):
            assert data(read(tmp_path, "x", "raw", tail=count), stream) == expected


@pytest.mark.parametrize("which", ["since", "until"])
def test_times_are_refused_where_the_log_has_none(tmp_path: Path, which: str) -> None:
    with pytest.raises(InvalidArgument, match="no times"):
        read(tmp_path, "x", "raw", **{which: after(0)})  # type: ignore[arg-type] # mypy wants to see which


def test_a_driver_that_keeps_no_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="'none' keeps no log"):
        read(tmp_path, "x", "none")


def test_the_tail_of_a_large_log_is_found_without_reading_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = json_path(tmp_path, "x")
    log = JsonLog(str(path))
    for _ in range(100):
        log.write("stdout", b"some words\n" * 1000)
    log.close()
    parse = Mock(wraps=json.loads)
    monkeypatch.setattr("pluginexec.host.logs.reader.json.loads", parse)
    assert len(list(read(tmp_path, "x", "json-file", tail=10))) == 10
    assert parse.call_count < 20


@pytest.mark.parametrize("second", ["2025-11-24T01:02:03.", "1763946123."])
def test_each_nanosecond_counts_for_since_and_until(tmp_path: Path, second: str) -> None:
    texts = ["123456788", "123456789", "123456790"]
    with json_path(tmp_path, "x").open("w") as file:
        for text in texts:
            time = f"2025-11-24T01:02:03.{text}Z"
            file.write(json.dumps({"log": text, "stream": "stdout", "time": time}) + "\n")
    middle = parse_when(f"{second}123456789{'' if second.startswith('1') else 'Z'}")
    for tail in (None, 5):
        since = read(tmp_path, "x", "json-file", since=middle, tail=tail)
        until = read(tmp_path, "x", "json-file", until=middle, tail=tail)
        assert [entry.data.decode() for entry in since] == texts[1:]
        assert [entry.data.decode() for entry in until] == texts[:2]
    assert list(read(tmp_path, "x", "json-file", until=0)) == []
