"""The json-file logger: what it writes, and its process.

Real: files, a disk that is full, ``/bin/sh`` and Python, started as the shim starts them. No containerd runs here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import JsonFile
from pluginexec.streams.json_logger import ENTRY_SIZE, JsonLog
from tests.support.harness import PATIENCE, held_descriptors, wait_until
from tests.unit.streams.test_shell_logger import Logger


class Process(Logger):
    """A json-file logger that runs; it tells that it is ready by a byte, which the shim takes as well as an end."""

    def wait_until_ready(self) -> None:
        assert select.select([self.ready], [], [], PATIENCE)[0], "the logger did not say that it is ready"
        assert os.read(self.ready, 10) in (b"\n", b"")

    def python(self) -> psutil.Process:
        """Return the process that writes."""
        wait_until(lambda: "python" in "".join(self.names()), "its Python")
        return next(process for process in self.members() if "python" in process.name())


Start = Callable[..., Process]


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def texts(path: Path, stream: str = "stdout") -> list[str]:
    return [entry["log"] for entry in entries(path) if entry["stream"] == stream]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x-json.log"


@pytest.fixture
def log(path: Path) -> Iterator[JsonLog]:
    log = JsonLog(str(path))
    yield log
    log.close()


def test_an_entry_is_as_docker_writes_it(log: JsonLog, path: Path) -> None:
    log.write("stderr", b'a "quoted" \\ \t\x00 \xc3\xa9\n')
    time = entries(path)[0]["time"]
    text = r"a \"quoted\" \\ \t\u0000 é\n"
    assert path.read_text() == f'{{"log":"{text}","stream":"stderr","time":"{time}"}}\n'
    assert len(time) == len("2026-11-24T01:02:03.123456789Z")
    assert time.endswith("Z")


def test_bytes_that_are_no_utf_8_are_replaced_and_a_character_that_came_in_two_parts_is_whole(
    log: JsonLog, path: Path
) -> None:
    for part in (b"\xe6", b"\xbc", b"\xa2\xff\n"):
        log.write("stdout", part)
    assert texts(path) == ["漢\ufffd\n"]


def test_a_line_is_written_when_it_is_complete_and_the_last_one_when_its_stream_ends(log: JsonLog, path: Path) -> None:
    log.write("stdout", b"on")
    log.write("stderr", b"err\n")
    log.write("stdout", b"e\ntwo")
    assert texts(path) == ["one\n"]
    log.end("stderr")
    log.end("stdout")
    log.end("stdout")
    assert (texts(path), texts(path, "stderr")) == (["one\n", "two"], ["err\n"])


@pytest.mark.parametrize("chunk", [1000, 1 << 16, 1 << 20])
@pytest.mark.parametrize("character", ["x", "é", "漢", "\0"])
def test_a_long_line_becomes_entries_of_16_kib_of_which_only_the_last_ends_with_a_newline(
    log: JsonLog, path: Path, character: str, chunk: int
) -> None:
    line = character * 50_000 + "\n"
    data = line.encode()
    for start in range(0, len(data), chunk):
        log.write("stdout", data[start : start + chunk])
    *parts, last = texts(path)
    assert "".join([*parts, last]) == line
    assert all(ENTRY_SIZE - 3 <= len(part.encode()) <= ENTRY_SIZE for part in parts)
    assert len(last.encode()) <= ENTRY_SIZE + 1


def test_a_line_of_16_kib_is_one_entry(log: JsonLog, path: Path) -> None:
    log.write("stdout", b"x" * ENTRY_SIZE)
    log.write("stdout", b"\n")
    assert texts(path) == ["x" * ENTRY_SIZE + "\n"]


def test_files_are_rotated_by_size_and_count_and_no_entry_is_cut(path: Path) -> None:
    log = JsonLog(str(path), max_size=1000, max_file=3)
    for number in range(100):
        log.write("stdout", f"{number}\n".encode() * (number % 3 + 1))
    log.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.1", f"{path.name}.2"]
    files = [path.with_name(f"{path.name}.2"), path.with_name(f"{path.name}.1"), path]
    assert all(file.stat().st_size <= 1000 for file in files)
    found = [int(text) for file in files for text in texts(file)]
    expected = [number for number in range(100) for _ in range(number % 3 + 1)]
    assert found == expected[-len(found) :]
    assert len(found) >= 30


def test_with_one_file_a_new_one_takes_its_place_and_who_has_the_old_one_open_loses_nothing(path: Path) -> None:
    log = JsonLog(str(path), max_size=200, max_file=1)
    log.write("stdout", b"one\n")
    with path.open("rb") as old:
        log.write("stdout", b"two\nthree\n")
        assert [json.loads(line)["log"] for line in old] == ["one\n", "two\n"]
    log.close()
    assert texts(path) == ["three\n"]
    assert os.listdir(path.parent) == [path.name]


def test_half_an_entry_of_a_logger_that_was_killed_is_taken_away(path: Path) -> None:
    whole = b'{"log":"a\\n","stream":"stdout","time":"2026-11-24T01:02:03.123456789Z"}\n'
    path.write_bytes(whole + b'{"log":"hal')
    log = JsonLog(str(path))
    log.write("stdout", b"next\n")
    log.close()
    assert path.read_bytes().startswith(whole)
    assert texts(path) == ["a\n", "next\n"]


def test_two_threads_may_write_and_the_last_writer_that_is_closed_closes_the_file(path: Path) -> None:
    before = held_descriptors()
    log = JsonLog(str(path), max_size=20_000, max_file=1000)
    writers = [log.writer("stdout"), log.writer("stderr")]

    def write(index: int) -> None:
        for number in range(2000):
            writers[index].write(b"%d\n%d" % (number, number))
        writers[index].close()

    threads = [threading.Thread(target=write, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held_descriptors() == before
    files = sorted(path.parent.iterdir(), key=lambda file: -int(file.suffix[1:]) if file != path else 1)
    expected = "".join(f"{number}\n{number}" for number in range(2000))
    for stream in ("stdout", "stderr"):
        assert "".join(text for file in files for text in texts(file, stream)) == expected


def test_its_process_imports_nothing_that_is_not_built_in() -> None:
    script = "import sys; before = set(sys.modules); sys.path.append(sys.argv[1]); import json_logger, select; "
    script += "print(*sorted(set(sys.modules) - before))"
    directory = os.path.dirname(sys.modules["pluginexec.streams.json_logger"].__file__ or "")
    with os.popen(f"{sys.executable} -I -S -c '{script}' {directory}") as output:
        assert set(output.read().split()) <= {"_json", "json_logger", "posix", "select", "time"}


@pytest.fixture
def start(tmp_path: Path, path: Path) -> Iterator[Start]:
    loggers: list[Process] = []

    def start(
        sink: JsonFile | None = None, streams: tuple[str, ...] = ("stdout", "stderr"), *, succeeds: bool = True
    ) -> Process:
        mark = tmp_path / "config.json"
        mark.touch()
        if succeeds:
            mark.with_name("pid").write_text("0")  # of no process
        loggers.append(Process((sink or JsonFile(path)).arguments(streams, mark)))
        loggers[-1].wait_until_ready()
        return loggers[-1]

    yield start
    for logger in loggers:
        logger.end()


@pytest.mark.parametrize(
    "name", ["plain", "with  two spaces ", 'it\'s "quoted"', "%41&a=b;c+d#e?f", "$HOME `id`", "{}é"]
)
def test_both_streams_are_written_to_their_end_whatever_the_directory_is_called(
    start: Start, tmp_path: Path, name: str
) -> None:
    directory = tmp_path / name
    directory.mkdir()
    logger = start(JsonFile(directory / name))
    logger.say(b"out\nlast", b"err\n")
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0
    assert texts(directory / name) == ["out\n", "last"]
    assert texts(directory / name, "stderr") == ["err\n"]


def test_what_the_runtime_says_of_a_start_that_fails_is_not_written(start: Start, path: Path) -> None:
    logger = start(succeeds=False)
    logger.say(b"", b"runc create failed: ...\n")
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0
    assert not path.exists()


@pytest.mark.parametrize("kept", ["stdout", "stderr"])
def test_a_stream_that_is_not_wanted_is_read_and_discarded(start: Start, path: Path, kept: str) -> None:
    logger = start(streams=(kept,))
    for _ in range(5):  # more than the pipe holds
        logger.say(bytes(1 << 16), bytes(1 << 16))
    logger.say(b"\nx\n", b"\nx\n")
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0
    assert {entry["stream"] for entry in entries(path)} == {kept}


def test_it_lives_on_after_the_signals_that_ask_it_to_end(start: Start, path: Path) -> None:
    logger = start()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.killpg(logger.process.pid, number)
    logger.say(b"last words")
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0
    assert texts(path) == ["last words"]


def test_one_that_is_killed_is_replaced_and_what_comes_then_is_written(start: Start, path: Path) -> None:
    logger = start()
    for round in range(3):
        victim = logger.python()
        victim.kill()
        wait_until(lambda: not victim.is_running(), "its end")  # noqa: B023
        logger.say(b"%d\n" % round)
        wait_until(lambda: len(texts(path)) == round + 1, "the line")  # noqa: B023
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0
    assert texts(path) == ["0\n", "1\n", "2\n"]


def test_writing_goes_on_after_the_shell_was_killed(start: Start, path: Path) -> None:
    logger = start()
    logger.python()
    logger.process.kill()
    logger.process.wait()
    logger.say(b"last words", b"of both\n")
    logger.hang_up()
    wait_until(lambda: not logger.members(), "its end")
    assert (texts(path), texts(path, "stderr")) == (["last words"], ["of both\n"])


def test_without_python_the_plugin_may_start_and_its_output_is_discarded(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    logger = start()
    for _ in range(5):
        logger.say(bytes(1 << 16), bytes(1 << 16))
    logger.hang_up()
    wait_until(lambda: not logger.members(), "its end")
    assert not path.exists()


def test_each_of_its_processes_holds_the_mark_and_none_the_pipe_that_the_shim_waits_at(
    start: Start, tmp_path: Path
) -> None:
    logger = start()
    logger.python()
    for process in logger.members():
        assert os.readlink(f"/proc/{process.pid}/fd/5") == str(tmp_path / "config.json")
    wait_until(lambda: not os.path.exists(f"/proc/{logger.python().pid}/fd/9"), "the closing of the pipe")
