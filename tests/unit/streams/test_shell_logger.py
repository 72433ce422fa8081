"""The logger: its URI, and its script.

Real: ``/bin/sh``, ``cat`` and ``flock``, started as the shim starts them: the URI taken apart, the container's output
on descriptors 3 and 4, a pipe on 5, ``/dev/null`` elsewhere, no environment but two variables. No containerd runs here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import pytest

from pluginexec.linux.locks import take_lock
from pluginexec.streams.shell_logger import logger_arguments, redirect_to_fifo, redirect_to_file
from tests.support.harness import PATIENCE, wait_until

HOSTILE = [
    pytest.param("plain", id="plain"),
    pytest.param("with  two spaces ", id="spaces"),
    pytest.param('it\'s "quoted"', id="quotes"),
    pytest.param("%41&a=b;c+d#e?f", id="what a URL takes for itself"),
    pytest.param("two\nlines\t", id="newline"),
    pytest.param("$HOME `id` $(id) \\ ! * ~", id="what a shell takes for itself"),
    pytest.param("{stdout} {lock} {}", id="what a format takes for itself"),
    pytest.param("é ā Á 漢 🧨", id="not ASCII"),
    pytest.param("-n", id="like a flag"),
    pytest.param(os.fsdecode(b"\xff\x81\x88"), id="not UTF-8"),
]


def take_apart(arguments: tuple[str, ...]) -> list[str]:
    """Return the command line that the shim makes of the URI, as Go's ``url.Parse`` and ``Query`` have it."""
    flag, uri = arguments
    assert flag == "--log-uri"
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("binary", "")
    # Of the characters that survive unescaped, none means anything to Go: "+" is a space there, ";" an error.
    assert re.fullmatch(r"-c=[A-Za-z0-9%._~-]+", parts.query)
    return [parts.path, *(unquote(part, errors="surrogateescape") for part in parts.query.split("=", 1))]


class Logger:
    """A logger that runs, with our ends of the container's stdout and stderr."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        stdout, stdout_end = os.pipe()
        stderr, stderr_end = os.pipe()
        self.outputs = {0: stdout_end, 1: stderr_end}
        self.ready, ready = os.pipe()
        # Out of the way of 3 to 5 first.
        passed = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in (stdout, stderr, ready)]
        argv = take_apart(arguments)
        pid = os.posix_spawn(
            argv[0],
            argv,
            {"CONTAINER_ID": "x", "CONTAINER_NAMESPACE": "y"},
            file_actions=[
                *((os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)),
                *((os.POSIX_SPAWN_DUP2, descriptor, 3 + index) for index, descriptor in enumerate(passed)),
            ],
            setsid=True,
        )
        self.process = psutil.Process(pid)
        for descriptor in (stdout, stderr, ready, *passed):
            os.close(descriptor)

    def wait_until_ready(self) -> None:
        """Wait as the shim does; it has no time-out."""
        assert select.select([self.ready], [], [], PATIENCE)[0], "the logger did not close descriptor 5"
        assert os.read(self.ready, 1) == b""

    def say(self, stdout: bytes, stderr: bytes = b"") -> None:
        os.write(self.outputs[0], stdout)
        os.write(self.outputs[1], stderr)

    def hang_up(self, *which: int) -> None:
        """Close the container's ends, by default all, as the shim does on the delete."""
        for index in which or list(self.outputs):
            os.close(self.outputs.pop(index))

    def members(self) -> set[psutil.Process]:
        """Return what lives of its session: nothing in it starts another."""
        found = set()
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def names(self) -> set[str]:
        """Return what runs in its session."""
        found = set()
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.add(process.name())
        return found

    def named(self, name: str) -> list[psutil.Process]:
        """Return the processes of its session with a name."""
        found = []
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == name:
                    found.append(process)
        return found

    def cats(self) -> list[psutil.Process]:
        """Return what copies."""
        return self.named("cat")

    def end(self) -> None:
        self.hang_up()
        os.close(self.ready)
        while members := self.members():  # it may be starting another
            for process in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()


@pytest.fixture
def run() -> Iterator[Callable[..., Logger]]:
    loggers: list[Logger] = []

    def start(stdout: str, stderr: str, lock: Path | None = None, begun: tuple[Path, Path] | None = None) -> Logger:
        loggers.append(Logger(logger_arguments(stdout, stderr, lock, start=begun)))
        loggers[-1].wait_until_ready()
        return loggers[-1]

    yield start
    for logger in loggers:
        logger.end()


class Fifo:
    """A FIFO with a reader."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes, fewer only at the end."""
        data = b""
        while len(data) < size:
            assert select.select([self.descriptor], [], [], PATIENCE)[0], f"only {data!r} arrived"
            chunk = os.read(self.descriptor, size - len(data))
            if not chunk:
                break
            data += chunk
        return data


@pytest.fixture
def fifos(tmp_path: Path) -> Iterator[tuple[Fifo, Fifo]]:
    both = Fifo(tmp_path / "stdout"), Fifo(tmp_path / "stderr")
    yield both
    for fifo in both:
        os.close(fifo.descriptor)


def redirections(fifos: tuple[Fifo, Fifo]) -> tuple[str, str]:
    return redirect_to_fifo(fifos[0].path), redirect_to_fifo(fifos[1].path)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_uri_decodes_to_the_script(name: str) -> None:
    path = Path("/x") / name
    shell, flag, script = take_apart(logger_arguments(redirect_to_fifo(path), redirect_to_file(path), path))
    assert (shell, flag) == ("/bin/sh", "-c")
    assert script.startswith("PATH=")
    assert script.count(shlex.quote(str(path))) == 5


@pytest.mark.parametrize("name", HOSTILE)
def test_bytes_arrive_in_fifos_and_files_whatever_the_directory_is_called(
    tmp_path: Path, name: str, run: Callable[..., Logger]
) -> None:
    directory = tmp_path / name
    directory.mkdir()
    fifo = Fifo(directory / name)
    try:
        logger = run(redirect_to_fifo(fifo.path), redirect_to_file(directory / f"{name}.log"), directory / "attached")
        logger.say(b"out\0\xff", b"err\0\xff")
        logger.hang_up()
        assert fifo.read(100) == b"out\0\xff"
        assert (directory / f"{name}.log").read_bytes() == b"err\0\xff"
        assert {path.name for path in directory.iterdir()} == {name, f"{name}.log"}
    finally:
        os.close(fifo.descriptor)


def test_a_file_is_appended_to_and_none_is_discarded(tmp_path: Path, run: Callable[..., Logger]) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    logger = run(redirect_to_file(path), redirect_to_file(None))
    logger.say(b"after", b"nobody reads this")
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0
    assert path.read_bytes() == b"before\nafter"


def test_a_file_named_without_a_directory_is_in_ours_and_not_in_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert redirect_to_file("log") == f">>{tmp_path}/log"


def test_descriptor_5_is_closed_while_the_container_has_said_nothing_and_nobody_reads(
    tmp_path: Path, run: Callable[..., Logger]
) -> None:
    for name in ("stdout", "stderr"):
        os.mkfifo(tmp_path / name)
    logger = run(redirect_to_fifo(tmp_path / "stdout"), redirect_to_fifo(tmp_path / "stderr"))
    assert logger.process in logger.members()


def test_the_logger_lives_on_after_the_signals_that_ask_it_to_end(
    fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    logger = run(*redirections(fifos))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.killpg(logger.process.pid, number)
    logger.say(b"last", b"words")
    logger.hang_up()
    assert fifos[0].read(100) + fifos[1].read(100) == b"lastwords"
    assert logger.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("first", [pytest.param(0, id="stdout first"), pytest.param(1, id="stderr first")])
def test_copying_goes_on_after_the_shell_was_killed_each_stream_to_its_own_end(
    first: int, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    logger = run(*redirections(fifos))
    wait_until(lambda: len(logger.cats()) == 2, "the start of both copies")
    logger.process.kill()
    logger.process.wait()
    for index in (first, 1 - first):
        os.write(logger.outputs[index], b"last words")
        logger.hang_up(index)
        assert fifos[index].read(100) == b"last words"


@pytest.mark.parametrize("sink", ["fifo", "file"])
def test_a_cat_that_is_killed_is_replaced_and_only_what_it_held_is_lost(
    sink: str, tmp_path: Path, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    stdout, stderr = redirections(fifos) if sink == "fifo" else (redirect_to_file(tmp_path / n) for n in ("o", "e"))
    logger = run(stdout, stderr)
    for round in (b"1", b"2", b"3"):
        wait_until(lambda: len(logger.cats()) == 2, "both copies")
        for cat in logger.cats():
            cat.kill()
            wait_until(lambda: not cat.is_running(), "its end")  # noqa: B023
        logger.say(b"out" + round, b"err" + round)
        # What the next cat holds when it is killed is lost: so not before it has passed this on.
        if sink == "fifo":
            assert (fifos[0].read(4), fifos[1].read(4)) == (b"out" + round, b"err" + round)
        else:
            wait_until(lambda: (tmp_path / "o").read_bytes().endswith(b"out" + round), "stdout")  # noqa: B023
            wait_until(lambda: (tmp_path / "e").read_bytes().endswith(b"err" + round), "stderr")  # noqa: B023
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0
    if sink == "file":
        assert (tmp_path / "o").read_bytes() == b"out1out2out3"
        assert (tmp_path / "e").read_bytes() == b"err1err2err3"


def test_both_copies_run_when_the_container_may_start(fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]) -> None:
    logger = run(*redirections(fifos))
    assert len(logger.process.children()) == 2
    logger.process.kill()  # at once: the container is heard none the less
    logger.process.wait()
    logger.say(b"last", b"words")
    assert fifos[0].read(4) + fifos[1].read(5) == b"lastwords"


def test_a_stream_that_ends_does_not_end_the_other(fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]) -> None:
    logger = run(*redirections(fifos))
    logger.hang_up(0)
    os.write(logger.outputs[1], b"more")
    assert fifos[1].read(4) == b"more"
    assert logger.process in logger.members()


def test_the_container_blocks_and_loses_nothing_while_nobody_reads(tmp_path: Path, run: Callable[..., Logger]) -> None:
    for name in ("stdout", "stderr"):
        os.mkfifo(tmp_path / name)
    logger = run(redirect_to_fifo(tmp_path / "stdout"), redirect_to_fifo(tmp_path / "stderr"))
    os.set_blocking(logger.outputs[0], False)
    sent = 0
    while select.select([], [logger.outputs[0]], [], 0.2)[1]:
        sent += os.write(logger.outputs[0], bytes(4096))
    reader = os.open(tmp_path / "stdout", os.O_RDONLY | os.O_NONBLOCK)
    try:
        logger.hang_up()
        received = 0
        while select.select([reader], [], [], PATIENCE)[0] and (data := os.read(reader, 1 << 16)):
            received += len(data)
    finally:
        os.close(reader)
    assert received == sent


def speak_and_die(logger: Logger) -> None:
    """Let the container say something and the task be deleted, while nobody relays."""
    logger.say(b"last", b"words")
    logger.hang_up()
    assert logger.process.wait(PATIENCE) == 0


def reopen(fifos: tuple[Fifo, Fifo]) -> None:
    """Close our read ends for a moment: what no one else holds open is forgotten."""
    for fifo in fifos:
        os.close(fifo.descriptor)
    for fifo in fifos:
        fifo.descriptor = os.open(fifo.path, os.O_RDONLY | os.O_NONBLOCK)
        # As streams do: without a writer since it was opened, a FIFO does not show its end.
        os.close(os.open(fifo.path, os.O_WRONLY | os.O_NONBLOCK))


def test_what_was_not_read_is_kept_and_its_reader_comes_to_the_end(
    tmp_path: Path, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    attached = tmp_path / "attached"
    attached.touch()
    speak_and_die(run(*redirections(fifos), attached))
    reopen(fifos)
    assert fifos[0].read(100) + fifos[1].read(100) == b"lastwords"


def test_what_a_reader_left_that_died_is_kept_for_the_next(
    tmp_path: Path, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    # In the middle of a drain: the lock was taken, and the logger has ended.
    lock = take_lock(tmp_path / "attached")
    assert lock is not None
    logger = run(*redirections(fifos), tmp_path / "attached")
    speak_and_die(logger)
    assert fifos[0].read(2) + fifos[1].read(2) == b"lawo"
    assert logger.members()
    os.close(lock)
    reopen(fifos)
    assert fifos[0].read(100) + fifos[1].read(100) == b"strds"


def test_of_a_fifo_and_a_file_the_fifo_is_kept(
    tmp_path: Path, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    (tmp_path / "attached").touch()
    logger = run(redirect_to_file(tmp_path / "log"), redirect_to_fifo(fifos[1].path), tmp_path / "attached")
    speak_and_die(logger)
    reopen(fifos)
    assert fifos[1].read(100) == b"words"
    assert (tmp_path / "log").read_bytes() == b"last"


def test_what_was_not_read_is_let_go_when_the_lock_file_is_gone(
    tmp_path: Path, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    attached = tmp_path / "attached"
    attached.touch()
    logger = run(*redirections(fifos), attached)
    speak_and_die(logger)
    assert logger.members()
    attached.unlink()
    wait_until(lambda: not logger.members(), "the end of the logger")
    assert not attached.exists()


def test_a_logger_ends_with_its_reader_and_asks_no_clock(
    tmp_path: Path, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    attached = tmp_path / "attached"
    lock = take_lock(attached)
    assert lock is not None
    logger = run(*redirections(fifos), attached)
    speak_and_die(logger)
    wait_until(lambda: "flock" in logger.names(), "its wait for the reader")
    attached.unlink()
    os.close(lock)
    names = set()
    while members := logger.names():
        names |= members
    assert "sleep" not in names


def test_nothing_is_held_where_the_lock_file_was_gone_before(
    tmp_path: Path, fifos: tuple[Fifo, Fifo], run: Callable[..., Logger]
) -> None:
    attached = tmp_path / "attached"
    logger = run(*redirections(fifos), attached)
    speak_and_die(logger)
    wait_until(lambda: not logger.members(), "the end of the logger")
    assert not attached.exists()


@pytest.mark.parametrize("succeeds", [True, False])
def test_what_comes_on_stderr_before_the_start_is_not_written_to_a_file(
    run: Callable[..., Logger], tmp_path: Path, succeeds: bool
) -> None:
    pid, first, log = (tmp_path / name for name in ("p i'd", "fir st", "log"))
    logger = run(redirect_to_file(None), redirect_to_file(log), None, (pid, first))
    if succeeds:
        pid.write_text("1")
    logger.say(b"", b"one\n")
    if succeeds:
        wait_until(lambda: log.read_bytes() == b"one\n", "the first block")
    logger.say(b"", b"x" * 50_000)
    logger.hang_up()
    wait_until(lambda: not logger.members(), "its end")
    assert log.read_bytes() == (b"one\n" + b"x" * 50_000 if succeeds else b"")
    assert not first.exists()


def test_one_that_is_killed_before_the_first_block_is_replaced(run: Callable[..., Logger], tmp_path: Path) -> None:
    pid, first, log = tmp_path / "pid", tmp_path / "first", tmp_path / "log"
    logger = run(redirect_to_file(None), redirect_to_file(log), None, (pid, first))
    pid.write_text("1")
    wait_until(lambda: logger.named("dd"), "the one that waits")
    killed = logger.named("dd")
    killed[0].kill()
    # It might still take what is written now.
    wait_until(lambda: logger.named("dd") not in ([], killed), "the next one")
    logger.say(b"", b"one\n")
    wait_until(lambda: log.read_bytes() == b"one\n", "the first block")


def test_where_the_first_block_cannot_be_kept_the_file_gets_the_rest(
    run: Callable[..., Logger], tmp_path: Path
) -> None:
    pid, log = tmp_path / "pid", tmp_path / "log"
    logger = run(redirect_to_file(None), redirect_to_file(log), None, (pid, tmp_path / "none" / "first"))
    wait_until(lambda: len(logger.cats()) == 2, "that it gave up")
    pid.write_text("1")
    logger.say(b"", b"one\n")
    wait_until(lambda: log.read_bytes() == b"one\n", "what was not read")
