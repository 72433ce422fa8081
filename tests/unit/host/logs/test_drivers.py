"""Log drivers: where output is kept, and the sinks that bring it there.

Real: the files and the log that a process of ours writes. The loggers themselves are shown in
tests/unit/streams/test_json_file.py.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pluginexec import InvalidArgument, JsonFile, Sink, Writer
from pluginexec.host.logs.drivers import DRIVERS, attached_sinks, check_options, detached_sinks, log_file
from pluginexec.host.records import Record
from tests.support.harness import Buffer


def record(driver: str, **options: str) -> Record:
    return Record("p", datetime.now(timezone.utc), "/a", "n", ["true"], log_driver=driver, log_opts=options)


def writer(sink: Sink) -> Writer:
    assert sink is not None
    assert not isinstance(sink, (str, os.PathLike, JsonFile))
    return sink


class Slow(Buffer):
    """A writer that takes one byte at a time, as a terminal may."""

    def write(self, data: bytes, /) -> int:
        """Take one byte."""
        super().write(data[:1])
        return 1


def test_each_driver_has_sinks_for_a_plugin_that_nobody_stays_with(tmp_path: Path) -> None:
    log = JsonFile(tmp_path / "p-json.log", 1_000_000, 2)
    options = {"max-size": "1m", "max-file": "2"}
    assert detached_sinks(record("json-file", **options), tmp_path) == (log, log)
    assert detached_sinks(record("raw"), tmp_path) == (tmp_path / "stdout.log", tmp_path / "stderr.log")
    assert detached_sinks(record("none"), tmp_path) == (None, None)


def test_the_log_file_is_named_where_there_is_one(tmp_path: Path) -> None:
    files = {driver: log_file(record(driver), tmp_path) for driver in DRIVERS}
    assert files == {"json-file": tmp_path / "p-json.log", "raw": tmp_path / "stdout.log", "none": None}


@pytest.mark.parametrize("driver", ["json-file", "raw", "none"])
def test_a_process_that_stays_with_it_gets_all_and_so_does_the_log(tmp_path: Path, driver: str) -> None:
    out, err = (Buffer() if driver == "none" else Slow()), Buffer()
    sinks = attached_sinks(record(driver), tmp_path, out, err)
    for sink, data in zip(sinks, (b"one\ntwo", b"bad\n"), strict=True):
        writer(sink).write(data)
        writer(sink).close()
    assert (out.data, err.data) == (b"one\ntwo", b"bad\n")
    assert (out.closings, err.closings) == (1, 1)
    if driver == "raw":
        assert [(tmp_path / f"{name}.log").read_bytes() for name in ("stdout", "stderr")] == [b"one\ntwo", b"bad\n"]
    if driver == "json-file":
        entries = [json.loads(line) for line in (tmp_path / "p-json.log").read_text().splitlines()]
        assert [(each["stream"], each["log"]) for each in entries] == [
            *(("stdout", "one\n"), ("stdout", "two"), ("stderr", "bad\n")),
        ]


def test_what_somebody_has_seen_is_in_the_log(tmp_path: Path) -> None:
    seen: list[bytes] = []

    class Look(Buffer):
        def write(self, data: bytes, /) -> None:
            seen.append((tmp_path / "stdout.log").read_bytes())

    sink, other = attached_sinks(record("raw"), tmp_path, Look(), Buffer())
    writer(sink).write(b"x")
    writer(sink).close()
    writer(other).close()
    assert seen == [b"x"]


def test_the_last_words_go_to_the_log_alone_where_nobody_stays(tmp_path: Path) -> None:
    assert attached_sinks(record("none"), tmp_path) == (None, None)
    out, err = attached_sinks(record("raw"), tmp_path)
    for sink in (out, err):
        writer(sink).write(b"last")
        writer(sink).close()
    assert (tmp_path / "stdout.log").read_bytes() == b"last"


def test_options_are_checked_before_anything_is_run() -> None:
    check_options("json-file", {"max-size": "10m", "max-file": "3"})
    for driver, options in (("json-file", {"size": "1"}), ("raw", {"max-size": "1"}), ("none", {"max-file": "1"})):
        with pytest.raises(InvalidArgument):
            check_options(driver, options)
