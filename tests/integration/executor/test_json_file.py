"""Plugins whose output goes to a json-file log. Real: containerd, the containers, the logger, a disk that is full."""

from __future__ import annotations

import fcntl
import json
import os
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Executor, JsonFile
from pluginexec.cleanup.loggers import LOGGER_TIMEOUT
from pluginexec.host.logs.reader import Entry, follow, json_path, read
from tests.support.harness import wait_until
from tests.support.shortages import Disk

Shell = Callable[..., dict[str, Any]]
# The last line has no newline. awk, because a shell takes a second for so many lines.
MANY = """awk 'BEGIN { for (i = 1; i < 50000; i++) print "line", i; printf "line 50000" }'"""
LINES = b"\n".join(b"line %d" % number for number in range(1, 50001))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.end()


def data(directory: Path, id: str, stream: str = "stdout") -> bytes:
    return b"".join(entry.data for entry in read(directory, id, "json-file", streams=(stream,)))


def loggers_of(id: str) -> list[psutil.Process]:
    """Return the processes that write the log of a plugin."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(word.endswith(f"/{id}-json.log") for word in process.info["cmdline"] or [])
    ]


def has_written_all(id: str) -> bool:
    """Return whether the logger of a plugin has read its stdout so far, and waits for more."""
    (logger,) = loggers_of(id)
    pipe = os.open(f"/proc/{logger.pid}/fd/3", os.O_RDONLY | os.O_NONBLOCK)
    try:
        count = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    finally:
        os.close(pipe)
    return not any(count) and logger.status() == psutil.STATUS_SLEEPING


def test_what_a_plugin_prints_is_in_the_log_long_lines_and_the_last_one_too(
    executor: Executor, id: str, shell: Shell, tmp_path: Path
) -> None:
    sink = JsonFile(json_path(tmp_path, id))
    script = r"printf 'a\0\377\n'; head -c 100000 /dev/zero | tr '\0' x; printf '\nlast'; echo err >&2"
    executor.create(id, shell(id, script), sink, sink)
    assert executor.wait(id, timeout=60).exit_code == 0
    assert data(tmp_path, id) == "a\0\ufffd\n".encode() + b"x" * 100_000 + b"\nlast"
    assert data(tmp_path, id, "stderr") == b"err\n"
    for line in json_path(tmp_path, id).read_bytes().splitlines():
        assert list(json.loads(line)) == ["log", "stream", "time"]


def test_50000_lines_come_once_and_in_order_though_the_log_is_rotated_without_a_supervisor(
    new_executor: Callable[..., Executor], id: str, shell: Shell, tmp_path: Path
) -> None:
    sink = JsonFile(json_path(tmp_path, id), 300_000, 100)
    over = threading.Event()
    entries: list[Entry] = []
    source = follow(tmp_path, id, "json-file", over.is_set)
    follower = threading.Thread(target=lambda: entries.extend(source))
    follower.start()
    try:
        executor = new_executor()
        executor.create(id, shell(id, f"{MANY}; exec sleep 1000"), sink, sink)
        executor.close()  # nothing of ours lives now but the logger
        wait_until(lambda: len(entries) == 49_999, "all lines but the last")
        executor = new_executor()
        assert executor.restore(id)
        executor.stop(id, timeout=0)
    finally:
        over.set()
        follower.join()
    assert b"".join(entry.data for entry in entries) == LINES
    assert data(tmp_path, id) == LINES
    assert len(list(tmp_path.glob(f"{id}-json.log*"))) > 10


def test_a_plugin_goes_on_when_its_logger_is_killed_and_what_it_says_then_is_kept(
    executor: Executor, id: str, shell: Shell, tmp_path: Path
) -> None:
    sink = JsonFile(json_path(tmp_path, id))
    script = "trap 'echo last words; exit 3' TERM; echo up; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"
    executor.create(id, shell(id, script), sink, sink)
    wait_until(lambda: data(tmp_path, id), "its first words")
    (logger,) = loggers_of(id)
    logger.kill()
    size = len(data(tmp_path, id))
    wait_until(lambda: len(data(tmp_path, id)) > size + 20, "words after that")
    assert executor.stop(id).exit_code == 3
    assert data(tmp_path, id).endswith(b"last words\n")


def test_a_full_disk_does_not_make_the_plugin_wait_and_what_it_says_when_there_is_room_is_kept(
    executor: Executor, id: str, shell: Shell, disk: Disk, tmp_path: Path
) -> None:
    sink = JsonFile(json_path(disk.directory, id))
    (tmp_path / "signs").mkdir()
    spec = shell(id, f"{MANY}; touch /run/signs/done; until [ -e /run/signs/room ]; do sleep 0.01; done; echo last")
    spec["mounts"].append(
        {"destination": "/run/signs", "type": "bind", "source": str(tmp_path / "signs"), "options": ["bind", "rw"]}
    )
    disk.spoil("full", spare=3)
    executor.create(id, spec, sink, sink)
    wait_until((tmp_path / "signs" / "done").exists, "the end of its lines")
    # What the logger still has to read would fill the small disk anew.
    wait_until(lambda: has_written_all(id), "the logger's turn to wait")
    wait_until(lambda: data(disk.directory, id), "what found room")
    before = data(disk.directory, id)
    disk.repair()
    (tmp_path / "signs" / "room").touch()
    assert executor.wait(id, timeout=60).exit_code == 0
    found = data(disk.directory, id)
    assert LINES.startswith(before)
    assert found.startswith(before)
    assert found.endswith(b"line 50000last\n")
    numbers = [int(line.split()[1]) for line in found.splitlines()[:-1]]
    assert numbers == sorted(set(numbers))  # whole lines, and some are missing
    assert len(numbers) < 49_999
    Path(sink.path).unlink()


def test_deleting_does_not_wait_until_the_shim_loses_patience_with_the_logger(
    executor: Executor, id: str, shell: Shell, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = JsonFile(json_path(tmp_path, id))
    begun = time.monotonic()
    for _ in range(3):
        executor.create(id, shell(id, "echo out"), sink, sink)
        assert executor.wait(id, timeout=60).exit_code == 0
    assert time.monotonic() - begun < 3 * LOGGER_TIMEOUT
    assert data(tmp_path, id) == b"out\n" * 3
    assert not caplog.records


def test_a_start_that_fails_leaves_no_logger(executor: Executor, id: str, shell: Shell, tmp_path: Path) -> None:
    broken = shell(id, "")
    broken["process"]["args"] = ["/no/such/executable"]
    sink = JsonFile(json_path(tmp_path, id))
    with pytest.raises(Exception, match="/no/such/executable"):
        executor.create(id, broken, sink, sink)
    wait_until(lambda: not loggers_of(id), "the end of its logger")
