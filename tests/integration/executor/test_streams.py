"""What a plugin prints arrives, whole and in order. Real: containerd, the containers, the logger, FIFOs and threads."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor
from pluginexec.containerd.client import Client
from pluginexec.streams.streams import PIPE_SIZE
from tests.support.harness import Buffer, Exits, wait_until

SIZE = 64 << 20
Shell = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """64 MiB of any bytes, NUL and invalid UTF-8 among them, with no newline at the end."""
    path = tmp_path_factory.mktemp("blob") / "blob"
    path.write_bytes(random.Random(2).randbytes(SIZE - 2) + b"\x00\xff")
    yield path
    path.unlink()


@pytest.fixture
def printer(shell: Shell, blob: Path) -> Callable[..., dict[str, Any]]:
    """Make the spec of a plugin that has the 64 MiB in ``/run/blob``."""

    def make(id: str, script: str) -> dict[str, Any]:
        spec = shell(id, script)
        options = ["bind", "ro"]
        spec["mounts"].append({"destination": "/run/blob", "type": "bind", "source": str(blob), "options": options})
        return spec

    return make


class Digest:
    """A writer that keeps a hash, and takes at most ``part`` bytes at a time."""

    def __init__(self, part: int | None = None) -> None:
        self.hash, self.size, self.closings = hashlib.sha256(), 0, 0
        self._part = part

    def write(self, data: bytes, /) -> int:
        taken = data[: self._part]
        self.hash.update(taken)
        self.size += len(taken)
        return len(taken)

    def close(self) -> None:
        self.closings += 1


def run(executor: Executor, id: str, spec: dict[str, Any], stdout: Any, stderr: Any) -> int | None:
    executor.create(id, spec, stdout, stderr)
    return executor.wait(id, timeout=100).exit_code


@pytest.mark.parametrize("part", [None, 4096], ids=["whole", "partial"])
def test_64_mib_on_both_streams_at_once_arrive_byte_for_byte(
    executor: Executor, id: str, printer: Shell, blob: Path, part: int | None
) -> None:
    stdout, stderr = Digest(part), Digest(part)
    assert run(executor, id, printer(id, "cat /run/blob & cat /run/blob >&2; wait"), stdout, stderr) == 0
    expected = hashlib.sha256(blob.read_bytes()).hexdigest()
    assert (stdout.size, stderr.size) == (SIZE, SIZE)
    assert (stdout.hash.hexdigest(), stderr.hash.hexdigest()) == (expected, expected)
    assert (stdout.closings, stderr.closings) == (1, 1)


def test_a_writer_that_raises_half_way_does_not_block_the_plugin(
    executor: Executor, id: str, printer: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Digest):
        def write(self, data: bytes, /) -> int:
            if self.size > SIZE // 2:
                raise OSError("no space left")
            return super().write(data)

    stdout, stderr = Full(), Buffer()
    assert run(executor, id, printer(id, "cat /run/blob; echo done >&2"), stdout, stderr) == 0
    assert stderr.data == b"done\n"
    assert SIZE > stdout.size > SIZE // 2
    assert stdout.closings == 1
    assert caplog.text.count("OSError: no space left") == 1


def test_a_slow_writer_slows_the_plugin_and_loses_nothing(
    executor: Executor, id: str, shell: Shell, exits: Exits
) -> None:
    class Slow(Buffer):
        gate = threading.Event()

        def write(self, data: bytes, /) -> int | None:
            assert self.gate.wait(60)
            return super().write(data)

    stdout, stderr = Slow(), Buffer()
    # More than all buffers on the way hold together, so the plugin must wait for the writer.
    executor.create(id, shell(id, "head -c 8388608 /dev/zero; echo done >&2"), stdout, stderr)
    assert executor.is_running(id)
    assert stderr.data == b""
    stdout.gate.set()
    assert executor.wait(id, timeout=60).exit_code == 0
    assert stdout.data == bytes(8 << 20)
    assert stderr.data == b"done\n"


def test_a_path_is_appended_to_without_us(
    executor: Executor, id: str, printer: Shell, blob: Path, tmp_path: Path
) -> None:
    stdout, stderr = tmp_path / "a file's name & more.log", tmp_path / "err"
    stdout.write_bytes(b"before\n")
    assert run(executor, id, printer(id, "cat /run/blob; printf oops >&2"), stdout, str(stderr)) == 0
    assert stdout.read_bytes() == b"before\n" + blob.read_bytes()
    assert stderr.read_bytes() == b"oops"


def test_both_streams_may_go_to_one_path(executor: Executor, id: str, shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert run(executor, id, shell(id, "echo out; echo err >&2"), path, path) == 0
    assert sorted(path.read_text().split()) == ["err", "out"]


def test_a_writer_may_stand_beside_a_path_or_none(executor: Executor, id: str, shell: Shell, tmp_path: Path) -> None:
    stdout = Buffer()
    assert run(executor, id, shell(id, "echo out; echo err >&2"), stdout, None) == 0
    assert (stdout.data, stdout.closings) == (b"out\n", 1)
    stderr = Buffer()
    assert run(executor, id, shell(id, "echo out; echo err >&2"), tmp_path / "out", stderr) == 0
    assert (stderr.data, stderr.closings) == (b"err\n", 1)
    assert (tmp_path / "out").read_bytes() == b"out\n"


def test_one_writer_for_both_streams_is_closed_once(executor: Executor, id: str, shell: Shell) -> None:
    both = Buffer()
    assert run(executor, id, shell(id, "echo out; echo err >&2"), both, both) == 0
    assert sorted(both.data.split()) == [b"err", b"out"]
    assert both.closings == 1


def test_nothing_is_blocked_where_output_is_discarded(executor: Executor, id: str, printer: Shell) -> None:
    assert run(executor, id, printer(id, "cat /run/blob; cat /run/blob >&2; exit 6"), None, None) == 6


@pytest.mark.parametrize("relayed", [True, False], ids=["relayed", "to a file"])
def test_the_pipes_of_a_plugin_hold_as_much_as_our_own(
    executor: Executor, id: str, shell: Shell, tmp_path: Path, relayed: bool
) -> None:
    executor.create(id, shell(id, "exec sleep 1000"), Buffer() if relayed else tmp_path / "out", None)
    for number in (1, 2):
        with open(f"/proc/{executor.pid(id)}/fd/{number}", "wb", buffering=0) as pipe:
            assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == PIPE_SIZE
    executor.stop(id, timeout=0)


def test_stdin_is_dev_null_and_has_no_fifo(executor: Executor, id: str, shell: Shell) -> None:
    stdout = Buffer()
    executor.create(id, shell(id, "readlink /proc/self/fd/0; cat; echo read; exec sleep 1000"), stdout, Buffer())
    wait_until(lambda: b"read" in stdout.data, "the end of stdin")
    assert stdout.data == b"/dev/null\nread\n"
    fifos = [entry.name for entry in executor._root.plugin(id).directory.iterdir() if entry.is_fifo()]
    assert sorted(fifos) == ["stderr", "stdout"]
    executor.stop(id, timeout=0)


def test_writers_are_closed_before_the_handler_is_told(
    new_executor: Callable[..., Executor], id: str, shell: Shell
) -> None:
    class Slow(Buffer):
        def close(self) -> None:
            time.sleep(0.2)  # long enough for a handler that does not wait
            super().close()

    stdout, stderr = Slow(), Slow()
    seen: list[tuple[bytes, bytes, int, int]] = []

    class Look(Exits):
        def handle_exit_event(self, id: str, status: Any) -> None:
            seen.append((stdout.data, stderr.data, stdout.closings, stderr.closings))
            super().handle_exit_event(id, status)

    handler = Look()
    new_executor(handler).create(id, shell(id, "printf last; printf words >&2"), stdout, stderr)
    handler.wait_for(1)
    assert seen == [(b"last", b"words", 1, 1)]


def test_runcs_own_complaint_reaches_no_writer(executor: Executor, id: str, shell: Shell) -> None:
    stdout, stderr = Buffer(), Buffer()
    broken = shell(id, "")
    broken["process"]["args"] = ["/no/such/executable"]
    with pytest.raises(Exception, match="/no/such/executable"):
        executor.create(id, broken, stdout, stderr)
    assert (stdout.closings, stderr.closings) == (0, 0)
    assert run(executor, id, shell(id, "echo fine >&2"), stdout, stderr) == 0
    assert (stdout.data, stderr.data) == (b"", b"fine\n")


def test_a_root_with_a_hostile_name_works(
    new_executor: Callable[..., Executor], root_dir: Path, id: str, shell: Shell, client: Client
) -> None:
    executor = new_executor(root=root_dir / "a b'c\"d%20&e;f?g=h#i$(x)`y`\\z+Größe\n½")
    stdout, stderr = Buffer(), Buffer()
    assert run(executor, id, shell(id, "echo out; echo err >&2; exit 3"), stdout, stderr) == 3
    assert (stdout.data, stderr.data) == (b"out\n", b"err\n")
    assert client.containers() == []


def test_no_descriptor_of_the_executor_reaches_the_plugin(executor: Executor, id: str, shell: Shell) -> None:
    secret = os.open("/etc/hostname", os.O_RDONLY)
    stdout = Buffer()
    assert run(executor, id, shell(id, "ls /proc/self/fd"), stdout, None) == 0
    os.close(secret)
    assert stdout.data.split() == [b"0", b"1", b"2", b"3"]
