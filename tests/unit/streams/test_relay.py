"""Relays: threads that copy pipes to writers.

Real: the pipes and FIFOs, the threads, the files. The writers are written to fail.
"""

from __future__ import annotations

import hashlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec.streams.relay import CHUNK, Relay
from pluginexec.types import Writer
from tests.support.harness import PATIENCE, Buffer, Gate, held_descriptors, wait_until


class Pipe:
    """A pipe whose write end is ours; the relay owns the read end."""

    def __init__(self) -> None:
        self.source, self._sink = os.pipe()
        os.set_blocking(self._sink, False)

    def write(self, data: bytes) -> None:
        """Write all of ``data``, and fail where the relay does not read."""
        rest = memoryview(data)
        while rest:
            assert select.select([], [self._sink], [], PATIENCE)[1], "nobody reads"
            rest = rest[os.write(self._sink, rest) :]

    def close(self) -> None:
        """End the stream."""
        if self._sink >= 0:
            os.close(self._sink)
        self._sink = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def relay(pipe: Pipe) -> Iterator[Callable[[Writer | None], Relay]]:
    relays: list[Relay] = []

    def start(writer: Writer | None) -> Relay:
        relays.append(Relay("p-stdout", pipe.source, writer))
        relays[-1].start()
        return relays[-1]

    yield start
    for relay in relays:
        relay.stop()
        assert ended(relay)
        relay.dispose()


def ended(relay: Relay) -> bool:
    """Wait for the end of a relay."""
    return relay.join(time.monotonic() + PATIENCE)


class Digest(Buffer):
    """A writer that takes what ``take`` says of a chunk, and keeps a hash of it."""

    def __init__(self, take: Callable[[bytes], int | None] = lambda data: None) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self._take = take

    def write(self, data: bytes, /) -> int | None:
        assert 0 < len(data) <= CHUNK
        taken = self._take(data)
        if taken is None or isinstance(taken, int):
            self.hash.update(data if taken is None else data[: max(taken, 0)])
        return taken


def slowly(data: bytes) -> None:
    time.sleep(0.001)


@pytest.mark.parametrize(
    ("take", "size"),
    [
        pytest.param(len, 64 << 20, id="which tells how many it took"),
        pytest.param(lambda data: None, 64 << 20, id="which returns nothing"),
        pytest.param(lambda data: (len(data) + 1) // 2, 8 << 20, id="which takes a half each time"),
        pytest.param(lambda data: min(len(data), 1), 100_001, id="which takes a byte each time"),
        pytest.param(slowly, 8 << 20, id="which is slow"),
    ],
)
def test_every_byte_arrives_in_order_at_a_writer(
    take: Callable[[bytes], int | None], size: int, pipe: Pipe, relay: Callable[..., Relay]
) -> None:
    data = os.urandom(size)
    writer = Digest(take)
    running = relay(writer)
    pipe.write(data)
    pipe.close()
    assert ended(running)
    assert writer.hash.digest() == hashlib.sha256(data).digest()
    assert writer.closings == 1


def test_a_raw_file_is_a_writer(tmp_path: Path, pipe: Pipe, relay: Callable[..., Relay]) -> None:
    file = open(tmp_path / "out", "wb", buffering=0)  # noqa: SIM115 - the relay closes it
    running = relay(file)
    pipe.write(b"\0\xff no newline")
    pipe.close()
    assert ended(running)
    assert file.closed
    assert (tmp_path / "out").read_bytes() == b"\0\xff no newline"


def test_without_a_writer_the_plugin_is_not_blocked(pipe: Pipe, relay: Callable[..., Relay]) -> None:
    running = relay(None)
    pipe.write(bytes(4 << 20))
    pipe.close()
    assert ended(running)


def raises(data: bytes) -> int:
    raise OSError("disk full")


@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(raises, id="raises"),
        pytest.param(lambda data: 0, id="takes nothing"),
        pytest.param(lambda data: -1, id="takes less than nothing"),
        pytest.param(lambda data: "all", id="returns nonsense"),
    ],
)
def test_a_writer_that_fails_half_way_is_logged_and_closed_once_and_does_not_block_the_plugin(
    fail: Callable[[bytes], int], pipe: Pipe, relay: Callable[..., Relay], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def take(data: bytes) -> int:
        calls.append(len(data))
        return fail(data) if len(calls) == 3 else 1

    writer = Digest(take)
    running = relay(writer)
    pipe.write(b"ab" * (2 << 20))
    pipe.close()
    assert ended(running)
    assert writer.hash.digest() == hashlib.sha256(b"ab").digest()
    assert (len(calls), writer.closings) == (3, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "writer of p-stdout failed; the rest of its output is discarded"
    ]


def test_a_writer_whose_closing_fails_is_logged_and_not_closed_again(
    pipe: Pipe, relay: Callable[..., Relay], caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Buffer):
        def close(self) -> None:
            super().close()
            raise OSError("disk full")

    writer = Stubborn()
    running = relay(writer)
    pipe.close()
    assert ended(running)
    assert writer.closings == 1
    assert [record.getMessage() for record in caplog.records] == ["writer of p-stdout could not be closed"]


def test_a_reading_that_fails_closes_the_writer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = Buffer()
    relay = Relay("p-stdout", os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY), writer)
    with caplog.at_level(logging.ERROR):
        relay.start()
        assert ended(relay)
    relay.dispose()
    assert writer.closings == 1
    assert [record.getMessage() for record in caplog.records] == ["relay of p-stdout failed"]


def test_a_relay_that_is_stopped_leaves_what_it_has_not_read(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keeper = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # as the logger does
    try:
        writer = Gate()
        relay = Relay("p-stdout", os.open(path, os.O_RDONLY | os.O_NONBLOCK), writer)
        relay.start()
        os.write(keeper, b"read")
        assert writer.entered.wait(PATIENCE)
        os.write(keeper, b"unread")
        relay.stop()
        assert not writer.closings
        writer.let_go.set()
        assert ended(relay)
        relay.dispose()
        assert (writer.data, writer.closings) == (b"read", 1)
        assert os.read(keeper, 100) == b"unread"
    finally:
        os.close(keeper)


def test_an_idle_relay_is_stopped_at_once(pipe: Pipe, relay: Callable[..., Relay]) -> None:
    writer = Buffer()
    running = relay(writer)
    running.stop()
    assert ended(running)
    assert writer.closings == 1


def test_a_wait_ends_at_its_deadline(relay: Callable[..., Relay]) -> None:
    assert not relay(Buffer()).join(time.monotonic() + 0.01)


def test_a_wait_ends_when_no_byte_has_moved_for_too_long(relay: Callable[..., Relay]) -> None:
    running = relay(Buffer())
    assert not running.join(time.monotonic() + 10 * PATIENCE, since=time.monotonic(), idle=0.05)


def test_a_wait_goes_on_while_bytes_move(pipe: Pipe, relay: Callable[..., Relay]) -> None:
    running = relay(Buffer())
    idle = 3.0  # far longer than a busy machine keeps a thread waiting

    def trickle() -> None:
        until = time.monotonic() + 1.2 * idle
        while time.monotonic() < until:
            pipe.write(b".")
            time.sleep(0.01)
        pipe.close()

    plugin = threading.Thread(target=trickle)
    plugin.start()
    try:
        assert running.join(time.monotonic() + PATIENCE, since=time.monotonic(), idle=idle)
    finally:
        plugin.join()


def test_a_relay_that_never_ran_gives_its_descriptors_back_once_and_does_not_close_its_writer(pipe: Pipe) -> None:
    writer = Buffer()
    before = held_descriptors()
    relay = Relay("p-stdout", pipe.source, writer)
    relay.dispose()
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]  # they get the numbers that are free now
    relay.dispose()
    relay.stop()
    assert [os.read(descriptor, 1) for descriptor in mine] == [b"", b""]
    for descriptor in mine:
        os.close(descriptor)
    assert set(before) - set(held_descriptors()) == {pipe.source}
    assert writer.closings == 0


def test_a_relay_given_back_while_it_runs_reads_no_descriptor_of_others_and_leaves_none(pipe: Pipe) -> None:
    before = set(held_descriptors()) - {pipe.source}
    writer = Gate()
    relay = Relay("p-stdout", pipe.source, writer)
    relay.start()
    pipe.write(b"one")
    assert writer.entered.wait(PATIENCE)
    relay.stop()
    relay.dispose()
    assert pipe.source in held_descriptors()
    writer.let_go.set()
    assert ended(relay)
    assert set(held_descriptors()) == before
    assert (writer.data, writer.closings) == (b"one", 1)


def test_a_relay_that_can_get_no_thread_gives_its_descriptors_back(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = set(held_descriptors()) - {pipe.source}
    relay = Relay("p-stdout", pipe.source, None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            relay.start()
    relay.dispose()
    assert set(held_descriptors()) == before


def test_a_relay_that_is_given_back_before_it_was_started_reads_nothing_and_does_not_close_its_writer(
    pipe: Pipe,
) -> None:
    before = set(held_descriptors()) - {pipe.source}
    writer = Buffer()
    relay = Relay("p-stdout", pipe.source, writer)
    relay.prepare()
    pipe.write(b"one")
    relay.dispose()
    assert ended(relay)
    assert set(held_descriptors()) == before
    assert (writer.data, writer.closings) == (b"", 0)


def test_the_threads_of_relays_are_named_after_their_streams(relay: Callable[..., Relay]) -> None:
    relay(None)
    wait_until(lambda: "pluginexec-p-stdout" in {thread.name for thread in threading.enumerate()})
