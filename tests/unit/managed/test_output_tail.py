"""The last output of a plugin, wherever it goes. Real: files in docker's json format. No containers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pluginexec import JsonFile
from pluginexec.managed.output_tail import KEPT, OutputTail
from tests.support.harness import Buffer


def write(sink: Any, data: bytes) -> object:
    """Write as a relay does."""
    return sink.write(data)


def test_a_writer_gets_all_and_its_end_is_kept() -> None:
    writer = Buffer()
    words = OutputTail(writer, writer)
    assert words.stdout is words.stderr
    write(words.stdout, b"x" * KEPT)
    write(words.stderr, b"the end\n")
    assert writer.data == b"x" * KEPT + b"the end\n"
    assert words.text() == "x" * (KEPT - 8) + "the end"


def test_two_streams_are_told_one_after_the_other_and_those_that_go_nowhere_too() -> None:
    words = OutputTail(None, Buffer())
    write(words.stderr, b"complaint\n")
    write(words.stdout, b"speech\n")
    assert words.text() == "speech\ncomplaint"
    words = OutputTail(None, None)
    write(words.stderr, b"complaint\n")
    write(words.stdout, b"speech\n")
    assert words.text() == "complaint\nspeech"


def test_what_a_writer_did_not_take_is_not_kept_twice() -> None:
    class Slow(Buffer):
        def write(self, data: bytes, /) -> int:
            super().write(data[:3])
            return 3

    words = OutputTail(Slow(), None)
    assert write(words.stdout, b"abcdef") == 3
    write(words.stdout, b"def")
    assert words.text() == "abcdef"


def test_a_writer_that_fails_does_not_hide_the_words() -> None:
    class Broken(Buffer):
        def write(self, data: bytes, /) -> int:
            raise OSError("broken")

    words = OutputTail(Broken(), None)
    with pytest.raises(OSError, match="broken"):
        write(words.stdout, b"heard")
    assert words.text() == "heard"


def test_an_earlier_life_is_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    words = OutputTail(log, Buffer())
    write(words.stderr, b"before too\n")
    words.begin()
    assert words.text() == ""
    with log.open("a") as file:
        file.write("now\n")
    assert words.text() == "now"
    log.write_text("new\n")  # rotated
    assert words.text() == "new"


def test_lines_of_json_are_unwrapped_and_what_is_none_is_skipped(tmp_path: Path) -> None:
    sink = JsonFile(tmp_path / "log")
    words = OutputTail(sink, sink)
    assert (words.stdout, words.stderr) == (sink, sink)
    assert words.text() == ""
    lines = [json.dumps({"log": text, "stream": "stderr", "time": "now"}) for text in ("one\n", "two\n")]
    (tmp_path / "log").write_text("\n".join(['e": "stdout"}', *lines, '{"log": 3}', '{"log']))
    words.begin()
    assert words.text() == ""
    (tmp_path / "log").write_text("\n".join(['e": "stdout"}', "[" * 2000, *lines]))
    assert words.text() == "one\ntwo"


def test_beside_a_json_file_what_goes_nowhere_stays_nowhere(tmp_path: Path) -> None:
    assert OutputTail(JsonFile(tmp_path / "log"), None).stderr is None
