"""The streams of a plugin, from its FIFOs to its writers.

Real: the file system, the FIFOs, locks and threads; the part of the logger is played by this process, which opens the
FIFOs as the logger does, and that of the shim of a foreign plugin. There is no containerd.
"""

from __future__ import annotations

import fcntl
import io
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec.errors import FailedPrecondition, InvalidArgument, Unavailable
from pluginexec.linux.locks import take_lock
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.streams import streams as module
from pluginexec.streams.shell_logger import NO_LOGGER
from pluginexec.streams.sinks import Sink, check_sink
from pluginexec.streams.streams import PIPE_SIZE, Streams
from tests.support.harness import PATIENCE, Buffer, Gate, held_descriptors, our_threads, wait_until
from tests.support.shortages import few_descriptors


@pytest.fixture
def files(tmp_path: Path) -> PluginFiles:
    files = PluginFiles(tmp_path / "p")
    files.make({})
    return files


@pytest.fixture(autouse=True)
def _gives_back_every_descriptor() -> Iterator[None]:
    before = held_descriptors()
    yield
    wait_until(lambda: held_descriptors().keys() <= before.keys(), "the closing of all descriptors")


class Logger:
    """What the logger is to the FIFOs: it has them open both ways."""

    def __init__(self, files: PluginFiles) -> None:
        self.fifos = [os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in (files.stdout, files.stderr)]

    def say(self, stdout: bytes, stderr: bytes = b"") -> None:
        for fifo, data in zip(self.fifos, (stdout, stderr), strict=True):
            os.write(fifo, data)

    def end(self) -> None:
        while self.fifos:
            os.close(self.fifos.pop())


@pytest.fixture
def start_logger(files: PluginFiles) -> Iterator[Callable[[], Logger]]:
    loggers: list[Logger] = []

    def start() -> Logger:
        loggers.append(Logger(files))
        return loggers[-1]

    yield start
    for logger in loggers:
        logger.end()


def is_free(lock: Path) -> bool:
    """Tell whether nobody holds a lock."""
    descriptor = take_lock(lock)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def test_the_fifos_are_private_and_open_and_locked_before_the_plugin_starts(files: PluginFiles) -> None:
    streams = Streams.create(files, Buffer(), Buffer())
    for fifo in (files.stdout, files.stderr):
        mode = fifo.lstat().st_mode
        assert stat.S_ISFIFO(mode)
        assert stat.S_IMODE(mode) == 0o600
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))  # ENXIO if nobody read
    assert not is_free(files.attached)
    assert streams.arguments[0] == "--log-uri"
    streams.discard()
    assert is_free(files.attached)


def test_what_an_earlier_plugin_left_in_its_fifo_is_never_mixed_with_a_new_one(files: PluginFiles) -> None:
    os.mkfifo(files.stdout)
    with pytest.raises(InvalidArgument, match="FIFO"):
        Streams.create(files, Buffer(), None)


def test_both_streams_arrive_to_their_end_and_each_writer_is_closed_once(
    files: PluginFiles, start_logger: Callable[[], Logger]
) -> None:
    stdout, stderr = Buffer(), Buffer()
    streams = Streams.create(files, stdout, stderr)
    logger = start_logger()
    logger.say(b"before the start", b"\0\xff")
    streams.start()
    logger.say(b", after it")
    logger.end()
    streams.drain()
    assert (stdout.data, stderr.data) == (b"before the start, after it", b"\0\xff")
    assert (stdout.closings, stderr.closings) == (1, 1)


def test_a_writer_for_both_streams_is_closed_when_the_second_has_ended(
    files: PluginFiles, start_logger: Callable[[], Logger]
) -> None:
    both = Buffer()
    streams = Streams.create(files, both, both)
    logger = start_logger()
    streams.start()
    os.close(logger.fifos.pop(0))
    wait_until(lambda: f"pluginexec-{files.id}-stdout" not in our_threads(), "the end of stdout")
    os.write(logger.fifos[0], b"still open")
    logger.end()
    streams.drain()
    assert (both.data, both.closings) == (b"still open", 1)


def test_without_sinks_there_is_no_logger_no_fifo_no_lock_and_no_thread(files: PluginFiles) -> None:
    threads = our_threads()
    streams = Streams.create(files, None, None)
    assert streams.arguments == NO_LOGGER
    streams.start()
    assert our_threads() == threads
    streams.drain()
    assert {path.name for path in files.directory.iterdir()} == {"config.json", "exit.json.new"}


@pytest.mark.parametrize("as_path", [pytest.param(str, id="text"), pytest.param(Path, id="path")])
def test_the_file_of_a_path_sink_is_there_before_the_start_and_is_never_cut(
    files: PluginFiles, tmp_path: Path, as_path: Callable[[Path], Sink]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("kept")
    streams = Streams.create(files, as_path(old), as_path(new))
    assert (old.read_text(), new.read_text()) == ("kept", "")
    assert streams.arguments[0] == "--log-uri"
    assert not files.attached.exists()
    streams.start()
    streams.drain()


def test_a_path_for_one_stream_leaves_the_other_to_its_writer(files: PluginFiles, tmp_path: Path) -> None:
    stderr = Buffer()
    streams = Streams.create(files, tmp_path / "out", stderr)
    assert not files.stdout.exists()
    streams.start()
    with open(files.stderr, "wb", buffering=0) as fifo:
        fifo.write(b"relayed")
    streams.drain()
    assert (stderr.data, stderr.closings) == (b"relayed", 1)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("missing/out", id="missing directory"),
        pytest.param("", id="the directory itself"),
        pytest.param("file/out", id="a file for a directory"),
        pytest.param("nul\0", id="NUL"),
        pytest.param("fifo", id="a FIFO that nobody reads"),
    ],
)
def test_a_path_that_cannot_be_appended_to_is_refused_with_nothing_left(
    files: PluginFiles, tmp_path: Path, bad: str
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    stdout = Buffer()
    before = held_descriptors()
    with pytest.raises(InvalidArgument, match="output file"):
        Streams.create(files, stdout, f"{tmp_path}/{bad}")
    assert held_descriptors() == before
    assert stdout.closings == 0


@pytest.mark.parametrize(
    "sink",
    [
        pytest.param(7, id="descriptor"),
        pytest.param(b"out", id="bytes"),
        pytest.param(Buffer().write, id="function"),
        pytest.param(io.StringIO(), id="text in memory"),
    ],
)
def test_what_is_no_sink_is_refused(sink: object) -> None:
    with pytest.raises(InvalidArgument):
        check_sink(sink)


def test_a_file_that_is_open_for_text_is_refused_with_advice(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as file:
        with pytest.raises(InvalidArgument, match="buffer"):
            check_sink(file)
        check_sink(file.buffer)


def test_the_end_comes_though_nobody_ever_opened_the_fifos_for_writing(files: PluginFiles) -> None:
    stdout = Buffer()
    streams = Streams.create(files, stdout, None)
    streams.start()
    streams.drain()  # without the nudge it would give up, with a warning, after DRAIN_IDLE
    assert (stdout.data, stdout.closings) == (b"", 1)


def test_the_logger_is_told_that_all_was_read(files: PluginFiles) -> None:
    streams = Streams.create(files, Buffer(), None)
    streams.start()
    assert files.attached.exists()
    streams.drain()
    assert not files.attached.exists()


def test_the_logger_is_not_told_so_by_who_stops_in_the_middle(files: PluginFiles) -> None:
    streams = Streams.create(files, Buffer(), None)
    streams.start()
    streams.stop()
    assert files.attached.exists()


@pytest.fixture
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_IDLE", 0.5)
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.5)


@pytest.mark.usefixtures("_short_patience")
def test_a_pipe_that_is_held_open_is_given_up_with_a_warning_and_what_came_arrives(
    files: PluginFiles, start_logger: Callable[[], Logger], caplog: pytest.LogCaptureFixture
) -> None:
    stdout, stderr = Buffer(), Buffer()
    streams = Streams.create(files, stdout, stderr)
    start_logger().say(b"last", b"words")
    streams.start()
    streams.drain()
    assert (stdout.data, stderr.data) == (b"last", b"words")
    assert (stdout.closings, stderr.closings) == (1, 1)
    assert [record.getMessage().split(": gave up")[0] for record in caplog.records] == ["p-stdout", "p-stderr"]
    assert is_free(files.attached)


def test_draining_ends_though_bytes_still_come(
    files: PluginFiles, start_logger: Callable[[], Logger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_TOTAL", 0.3)
    streams = Streams.create(files, Buffer(), Buffer())
    logger = start_logger()
    enough = threading.Event()

    def chatter() -> None:
        while not enough.wait(0.005):
            logger.say(b".", b".")

    plugin = threading.Thread(target=chatter)
    plugin.start()
    try:
        streams.start()
        streams.drain()
    finally:
        enough.set()
        plugin.join()


@pytest.mark.usefixtures("_short_patience")
def test_a_writer_that_blocks_does_not_block_the_stop_and_gives_all_back_when_it_returns(
    files: PluginFiles, start_logger: Callable[[], Logger], caplog: pytest.LogCaptureFixture
) -> None:
    blocked, other = Gate(), Buffer()
    streams = Streams.create(files, blocked, other)
    start_logger().say(b"stuck", b"fine")
    streams.start()
    assert blocked.entered.wait(PATIENCE)
    try:
        streams.stop()
        streams.stop()
        assert [record.getMessage().split(";")[0] for record in caplog.records] == ["writer of p-stdout blocks"]
        assert (blocked.closings, other.closings) == (0, 1)
        assert is_free(files.attached)
    finally:
        blocked.let_go.set()
    assert blocked.closed.wait(PATIENCE)
    assert (blocked.data, blocked.closings) == (b"stuck", 1)


def test_the_lock_is_released_before_the_reading_ends(files: PluginFiles, start_logger: Callable[[], Logger]) -> None:
    # Else a logger that ends in between leaves the FIFO to nobody, and what is in it is forgotten.
    gate = Gate()
    streams = Streams.create(files, gate, None)
    with open(files.stdout, "wb", buffering=0) as fifo:
        fifo.write(b"x")
        streams.start()
        assert gate.entered.wait(PATIENCE)
        stopping = threading.Thread(target=streams.stop)
        stopping.start()
        try:
            wait_until(lambda: is_free(files.attached), "the release of the lock")
            assert stopping.is_alive()
        finally:
            gate.let_go.set()
            stopping.join()


def test_what_was_not_read_when_the_streams_were_stopped_is_read_by_the_next(
    files: PluginFiles, start_logger: Callable[[], Logger]
) -> None:
    first, second = Buffer(), Buffer()
    streams = Streams.create(files, first, None)
    os.mkfifo(files.stderr)
    logger = start_logger()
    logger.say(b"one")
    streams.start()
    wait_until(lambda: first.data == b"one")
    streams.stop()
    assert first.closings == 1
    logger.say(b"two", b"three")
    streams = Streams.open(files, second, None)
    streams.start()
    logger.say(b", four")
    logger.end()
    streams.drain()
    assert (first.data, second.data) == (b"one", b"two, four")


def test_streams_are_stopped_once_however_often_that_is_asked_for(
    files: PluginFiles, start_logger: Callable[[], Logger]
) -> None:
    stdout, unfed = Buffer(), Buffer()
    Streams.create(files, stdout, None).discard()
    streams = Streams.open(files, stdout, unfed)
    streams.start()
    streams.drain()
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]  # they get the numbers that are free now
    streams.stop()
    streams.drain()
    streams.discard()
    assert [os.read(descriptor, 1) for descriptor in mine] == [b""] * 4
    for descriptor in mine:
        os.close(descriptor)
    assert (stdout.closings, unfed.closings) == (1, 1)


def test_discarding_closes_no_writer_and_delivers_nothing(
    files: PluginFiles, start_logger: Callable[[], Logger]
) -> None:
    stdout, stderr = Buffer(), Buffer()
    streams = Streams.create(files, stdout, stderr)
    start_logger().say(b"what runc says", b"of a start that failed")
    streams.discard()
    streams.discard()
    assert (stdout.data + stderr.data, stdout.closings, stderr.closings) == (b"", 0, 0)
    assert is_free(files.attached)


def test_abandoning_closes_each_writer_and_delivers_nothing(
    files: PluginFiles, start_logger: Callable[[], Logger]
) -> None:
    stdout, stderr = Buffer(), Buffer()
    streams = Streams.create(files, stdout, stderr)
    start_logger().say(b"what runc says", b"of a start that failed")
    streams.abandon()
    streams.drain()
    assert (stdout.data + stderr.data, stdout.closings, stderr.closings) == (b"", 1, 1)
    assert is_free(files.attached)


def test_where_one_of_two_threads_cannot_be_had_no_byte_moves_and_no_writer_is_closed(
    files: PluginFiles, start_logger: Callable[[], Logger], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def start_but_not_stderr(thread: threading.Thread) -> None:
        if thread.name.endswith("-stderr"):
            raise RuntimeError("can't start new thread")
        start(thread)

    stdout, stderr = Buffer(), Buffer()
    streams = Streams.create(files, stdout, stderr)
    start_logger().say(b"what a plugin says", b"that is about to be removed")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_but_not_stderr)
        with pytest.raises(Unavailable, match="out of threads"):
            streams.start()
    streams.stop()
    wait_until(lambda: not {f"pluginexec-{files.id}-stdout"} & our_threads(), "the end of the first thread")
    assert (stdout.data + stderr.data, stdout.closings, stderr.closings) == (b"", 0, 0)
    assert is_free(files.attached)


def test_without_descriptors_nothing_is_left_and_no_writer_is_closed(files: PluginFiles, tmp_path: Path) -> None:
    before = held_descriptors()
    errors = []
    for spare in range(12):
        stdout = Buffer()
        with few_descriptors(spare):
            try:
                Streams.create(files, stdout, tmp_path / "out").discard()
            except Unavailable as error:
                errors.append(error)
        files.make({})
        assert held_descriptors() == before
        assert stdout.closings == 0
    assert 2 < len(errors) < 12


def test_stopping_streams_that_never_started_is_discarding_them(files: PluginFiles, tmp_path: Path) -> None:
    stdout, unfed = Buffer(), Buffer()
    Streams.create(files, stdout, None).stop()
    Streams.open(files, tmp_path / "out", unfed).stop()
    assert (stdout.closings, unfed.closings) == (0, 0)


def test_a_writer_where_there_is_no_fifo_gets_nothing_and_is_closed_at_the_end(files: PluginFiles) -> None:
    both = Buffer()
    files.stdout.write_text("no FIFO")
    streams = Streams.open(files, both, both)
    streams.start()
    assert both.closings == 0
    streams.stop()
    assert (both.data, both.closings) == (b"", 1)


def test_a_path_may_be_given_for_a_fifo_that_is_there(
    files: PluginFiles, tmp_path: Path, start_logger: Callable[[], Logger]
) -> None:
    path = tmp_path / "out"
    path.write_text("old, ")
    Streams.create(files, Buffer(), Buffer()).discard()
    streams = Streams.open(files, path, None)
    logger = start_logger()
    logger.say(b"new", b"discarded")
    streams.start()
    logger.end()
    streams.drain()
    assert path.read_text() == "old, new"


def test_a_path_that_cannot_be_opened_leaves_no_descriptor_and_no_lock(files: PluginFiles, tmp_path: Path) -> None:
    Streams.create(files, Buffer(), Buffer()).discard()
    before = held_descriptors()
    with pytest.raises(InvalidArgument, match="output file"):
        Streams.open(files, tmp_path / "out", tmp_path / "missing" / "out")
    assert held_descriptors() == before
    assert is_free(files.attached)


def test_a_plugin_that_somebody_else_reads_is_refused_and_nothing_is_left(
    files: PluginFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pluginexec.root.plugin_files._ATTACH_TIMEOUT", 0.05)
    other = Streams.create(files, Buffer(), None)
    before = held_descriptors()
    with pytest.raises(FailedPrecondition, match="locked"):
        Streams.open(files, Buffer(), None)
    assert held_descriptors() == before
    other.discard()


def test_a_lock_that_the_logger_holds_for_an_instant_is_waited_for(files: PluginFiles) -> None:
    lock = take_lock(files.attached)
    assert lock is not None
    timer = threading.Timer(0.05, os.close, [lock])
    timer.start()
    try:
        Streams.create(files, Buffer(), None).discard()
    finally:
        timer.join()


@pytest.fixture
def init() -> Iterator[int]:
    """A live child: to it, this process is the shim."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def start_shim(tmp_path: Path) -> Iterator[Callable[[], Logger]]:
    """Open FIFOs as a shim does: both ways too."""
    shims: list[Logger] = []

    def start() -> Logger:
        fifos = PluginFiles(tmp_path / "foreign")
        fifos.make({})
        fifos.stdout, fifos.stderr = fifos.directory / "p-stdout", fifos.directory / "p-stderr"
        for fifo in (fifos.stdout, fifos.stderr):
            os.mkfifo(fifo)
        shims.append(Logger(fifos))
        return shims[-1]

    yield start
    for shim in shims:
        shim.end()


def test_the_streams_of_a_foreign_plugin_arrive(start_shim: Callable[[], Logger], init: int, tmp_path: Path) -> None:
    shim = start_shim()
    stdout, path = Buffer(), tmp_path / "err"
    streams = Streams.attach("p", init, stdout, path)
    streams.start()
    shim.say(b"out\n", b"err\n")
    shim.end()
    assert streams.drain()
    assert (stdout.data, path.read_text()) == (b"out\n", "err\n")
    assert stdout.closings == 1


def test_what_a_foreign_plugin_says_between_two_who_are_attached_is_kept(
    start_shim: Callable[[], Logger], init: int
) -> None:
    shim = start_shim()
    first, second = Buffer(), Buffer()
    streams = Streams.attach("p", init, first, None)
    streams.start()
    shim.say(b"one")
    wait_until(lambda: first.data == b"one", "the first words")
    streams.stop()
    shim.say(b"two")
    streams = Streams.attach("p", init, second, None)
    streams.start()
    wait_until(lambda: second.data == b"two", "the next words")
    streams.stop()
    assert (first.closings, second.closings) == (1, 1)


def test_a_writer_for_a_foreign_stream_that_is_no_fifo_gets_nothing_and_is_closed(
    init: int, caplog: pytest.LogCaptureFixture
) -> None:
    stdout = Buffer()
    streams = Streams.attach("p", init, stdout, None)
    streams.start()
    assert streams.drain()
    assert (stdout.data, stdout.closings) == (b"", 1)
    assert [record.getMessage() for record in caplog.records] == [
        "stdout of p goes elsewhere and cannot be relayed: it is no FIFO"
    ]


def test_attaching_with_a_path_that_cannot_be_opened_gives_back_what_it_took(
    start_shim: Callable[[], Logger], init: int, tmp_path: Path
) -> None:
    start_shim()
    with pytest.raises(InvalidArgument):
        Streams.attach("p", init, tmp_path / "out", tmp_path / "missing" / "out")


def test_only_a_pipe_of_a_plugin_is_opened_to_widen_it(
    files: PluginFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Streams.create(files, tmp_path / "out", None)
    opened: list[str] = []
    really_open = os.open

    def note_and_open(path: str, flags: int) -> int:
        opened.append(path)
        return really_open(path, flags)

    with (tmp_path / "file").open("wb") as file:
        argv = ["sleep", "1000"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE)
    try:
        assert process.stderr
        with monkeypatch.context() as patch:
            patch.setattr("os.open", note_and_open)
            streams.widen(process.pid)
        assert opened == [f"/proc/{process.pid}/fd/2"]
        assert fcntl.fcntl(process.stderr, fcntl.F_GETPIPE_SZ) == PIPE_SIZE
    finally:
        process.kill()
        process.communicate()
    streams.widen(process.pid)  # has ended: nothing is raised
    streams.discard()


def test_without_a_logger_no_pipe_is_widened(files: PluginFiles) -> None:
    streams = Streams.create(files, None, None)
    with subprocess.Popen(["sleep", "1000"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        before = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
        streams.widen(process.pid)
        after = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
        process.kill()
    assert after == before
    streams.discard()
