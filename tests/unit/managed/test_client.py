"""The plugin's socket: waiting for it, calls over it, and what may go wrong.

Real: sockets of the file system, with a server of the test's own behind them, which says what each test wants.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import DeadlineExceeded, FailedPrecondition, NotFound, PluginExecError, Unavailable, Unknown
from pluginexec.managed import connection
from pluginexec.managed.client import Ended, activate, call, wait_for_socket
from pluginexec.managed.config import load_config
from pluginexec.managed.connection import dial
from tests.support.harness import PATIENCE, wait_until
from tests.unit.managed.test_config import LEAST

LONG = 3600.0
NewServer = Callable[..., list[bytes]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a socket, longer than the kernel takes."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    return directory / "x.sock"


@pytest.fixture
def alive() -> Iterator[int]:
    """A descriptor that stands for a process that goes on."""
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


def listening(path: Path) -> socket.socket:
    """Return a socket that listens."""
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(path.parent, os.O_PATH)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
    listener.listen()
    return listener


@pytest.fixture
def new_server(path: Path) -> Iterator[NewServer]:
    """Answer the next call with these bytes; what was asked is in the list that is returned."""
    with contextlib.ExitStack() as closed:

        def make(answer: bytes, *, keep_open: bool = False) -> list[bytes]:
            listener, asked = closed.enter_context(listening(path)), list[bytes]()

            def serve() -> None:
                connection, _ = listener.accept()
                asked.append(request(connection))
                with contextlib.suppress(ConnectionError):  # it may hang up before it has read all
                    connection.sendall(answer)
                if keep_open:
                    closed.enter_context(connection)
                else:
                    connection.close()

            thread = threading.Thread(target=serve)
            thread.start()
            closed.callback(thread.join)
            return asked

        yield make


def request(connection: socket.socket) -> bytes:
    """Read a whole request."""
    data = b""
    while not (head := data.partition(b"\r\n\r\n"))[1] or len(head[2]) < int(data.partition(b"Length: ")[2].split()[0]):
        data += connection.recv(1 << 16)
    return data


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """Return an answer."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_socket_that_listens_already_is_not_waited_for(path: Path, alive: int) -> None:
    with listening(path):
        wait_for_socket(path, timeout=LONG, ended=alive)


def waits_in_poll(thread: threading.Thread) -> bool:
    """Return whether a thread sleeps in poll(2)."""
    directory = Path(f"/proc/self/task/{thread.native_id}")
    with contextlib.suppress(OSError):
        sleeps = directory.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "S"
        where = directory.joinpath("wchan").read_text()
        return sleeps and ("poll" in where or where == "0")  # which some kernels say of all
    return False


class Waiter(threading.Thread):
    """A thread that waits for a socket, and how that ended."""

    def __init__(self, path: Path, ended: int, timeout: float = LONG) -> None:
        super().__init__(daemon=True)  # without its guard it would wait for ever
        self._arguments: dict[str, Any] = {"path": path, "timeout": timeout, "ended": ended}
        self.error: PluginExecError | None = None
        self.start()
        wait_until(lambda: waits_in_poll(self), "its sleep")

    def run(self) -> None:
        """Wait."""
        try:
            wait_for_socket(**self._arguments)
        except PluginExecError as error:
            self.error = error


def test_a_socket_that_comes_later_is_noticed_although_nobody_asks_again(path: Path, alive: int) -> None:
    waiter = Waiter(path, alive)
    (path.parent / "another").touch()  # is no reason to give up
    with listening(path):
        waiter.join(PATIENCE)
    assert not waiter.is_alive()
    assert waiter.error is None


def test_a_socket_that_is_moved_into_its_place_is_noticed(path: Path, alive: int) -> None:
    with listening(path.with_name("elsewhere")):
        waiter = Waiter(path, alive)
        path.with_name("elsewhere").rename(path)
        waiter.join(PATIENCE)
    assert not waiter.is_alive()
    assert waiter.error is None


def test_one_that_listens_some_time_after_it_has_made_the_file_is_noticed(path: Path, alive: int) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(path.parent, os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        waiter = Waiter(path, alive)
        listener.listen()
        waiter.join(PATIENCE)
        assert not waiter.is_alive()
        assert waiter.error is None


def test_the_end_of_the_plugin_ends_the_wait(path: Path) -> None:
    reader, writer = os.pipe()
    waiter = Waiter(path, reader)
    os.write(writer, b"ended")
    waiter.join(PATIENCE)
    for descriptor in (reader, writer):
        os.close(descriptor)
    assert not waiter.is_alive()
    assert isinstance(waiter.error, Ended)


def test_the_time_that_it_may_take_is_bounded(path: Path, alive: int) -> None:
    with pytest.raises(DeadlineExceeded, match=r"'x\.sock' within 0\.05 s: no such file"):
        wait_for_socket(path, timeout=0.05, ended=alive)
    path.touch()
    with pytest.raises(DeadlineExceeded, match="the file exists, but it does not listen"):
        wait_for_socket(path, timeout=0.05, ended=alive)


def test_no_time_is_too_long(path: Path, alive: int, new_server: NewServer) -> None:
    new_server(http(b"{}"))
    assert call(path, "X", timeout=float("inf")) == {}
    waiter = Waiter(path.with_name("y.sock"), alive, timeout=float("inf"))
    with listening(path.with_name("y.sock")):
        waiter.join(PATIENCE)
    assert not waiter.is_alive()
    assert waiter.error is None


def test_a_directory_that_is_not_there_is_said(path: Path, alive: int) -> None:
    with pytest.raises(Unavailable, match="cannot be watched: No such file"):
        wait_for_socket(path.parent / "gone" / "x", timeout=LONG, ended=alive)


@pytest.mark.parametrize(("body", "sent"), [(None, b""), ({"Name": "x"}, b'{"Name": "x"}'), ([], b"[]")])
def test_a_call_is_what_docker_sends(path: Path, new_server: NewServer, body: object, sent: bytes) -> None:
    asked = new_server(http(b'{"Err": "", "Mountpoint": "/x"}'))
    assert call(path, "VolumeDriver.Path", body) == {"Err": "", "Mountpoint": "/x"}
    head, _, data = asked[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /VolumeDriver.Path HTTP/1.1"
    assert b"Accept: application/vnd.docker.plugins.v1.2+json" in lines
    assert b"Content-Length: %d" % len(sent) in lines
    assert data == sent


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http(b""), None),
        (http(b'{"Err": null}'), {"Err": None}),
        (http(b"[1]", kind="text/html"), [1]),
        (http(b"\0\0\0\2xy", kind="application/x-json-stream"), b"\0\0\0\2xy"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {}),
        (b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}', {"a": 1}),
    ],
)
def test_an_answer_is_understood(path: Path, new_server: NewServer, answer: bytes, expected: object) -> None:
    new_server(answer)
    assert call(path, "X") == expected


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (http(b'{"Err": "disk\\nfull"}'), Unknown, "X failed: disk full"),
        (http(b'{"Err": "disk full"}', "500 Oh"), Unknown, "X failed: disk full"),
        (http(b"plain words", "500 Oh"), Unknown, "X failed: plain words"),
        (http(b"", "503 Oh"), Unknown, "X failed: http status 503"),
        (http(b"404 page not found\n", "404 Not Found"), NotFound, "X failed: 404 page not found"),
        (http(b"no json"), Unknown, "the answer to X is not json: b'no json'"),
        (b"SSH-2.0\r\n", Unavailable, "the answer to X is not http"),
        (b"", Unavailable, "connection to its socket .* failed|not http"),
        (http(b"{}")[:-1], Unavailable, "the answer to X is not http: IncompleteRead"),
    ],
)
def test_a_failure_is_said(
    path: Path, new_server: NewServer, answer: bytes, kind: type[PluginExecError], says: str
) -> None:
    new_server(answer)
    with pytest.raises(kind, match=says) as raised:
        call(path, "X")
    assert type(raised.value) is kind


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n", http(b"{}")[:-1]])
def test_an_answer_that_does_not_come_or_does_not_end_is_not_waited_for(
    path: Path, new_server: NewServer, answer: bytes
) -> None:
    new_server(answer, keep_open=True)
    with pytest.raises(DeadlineExceeded, match=r"no answer to X within 0\.1 s"):
        call(path, "X", timeout=0.1)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
Feed = Callable[..., None]


@pytest.fixture
def feed(path: Path) -> Iterator[Feed]:
    """Answer the next call with a beginning, and then with the same bytes again until the caller has hung up."""
    listener, over = listening(path), threading.Event()
    threads: list[threading.Thread] = []

    def start(first: bytes, then: bytes, pause: float = 0.0) -> None:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(first)
                while not over.wait(pause):
                    connection.sendall(then)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (HEAD + b"A: ", b"b"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD, b"A: b\r\n"),
        (HEAD + b"\r\n", b" "),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED + b"0\r\n", b"A: b\r\n"),
    ],
    ids=["a header", "interim answers", "headers", "a body", "a body with a length", "chunks", "trailers"],
)
def test_an_answer_that_trickles_is_not_waited_for_longer(path: Path, feed: Feed, first: bytes, then: bytes) -> None:
    feed(first, then, 0.01)  # each part comes long before the time is over
    with pytest.raises(DeadlineExceeded, match=r"no answer to X within 0\.3 s"):
        call(path, "X", timeout=0.3)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (HEAD + b"A: ", b"b" * 10_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
        (HEAD, b"A: b\r\n" * 1000),
        (HEAD + b"\r\n", b" " * 100_000),
        (CHUNKED, b"1\r\n \r\n" * 10_000),
        (CHUNKED, b"10000\r\n" + b" " * 0x10000 + b"\r\n"),
        (CHUNKED + b"0\r\n", b"A: b\r\n" * 10_000),
        (CHUNKED + b"1;", b"x" * 10_000),
    ],
    ids=["a header", "interim answers", "headers", "a body", "small chunks", "chunks", "trailers", "an extension"],
)
def test_an_answer_without_end_is_not_read_for_ever(path: Path, feed: Feed, first: bytes, then: bytes) -> None:
    feed(first, then)
    with pytest.raises((Unknown, Unavailable), match=r"the answer to X is (too long: at most 1 MiB are read|not http)"):
        call(path, "X", timeout=LONG, longest=1 << 20)


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        (["9" * 5000], "too long"),
        ([str((64 << 20) + 1)], "too long: at most 64 MiB are read"),
        (["-1"], "not http: HTTPException: its Content-Length is not one number"),
        (["2", "3"], "not http"),
        (["2x"], "not http"),
        (["\u0662"], "not http"),
    ],
)
def test_an_answer_with_an_impossible_length_is_not_read(
    path: Path, new_server: NewServer, lengths: list[str], says: str
) -> None:
    headers = "".join(f"Content-Length: {length}\r\n" for length in lengths)
    new_server(HEAD + headers.encode() + b"\r\n{}", keep_open=True)
    with pytest.raises((Unknown, Unavailable), match=f"the answer to X is {says}"):
        call(path, "X", timeout=PATIENCE)


def test_the_answer_to_an_activation_is_short(path: Path, new_server: NewServer) -> None:
    new_server(http(b'{"Implements": ["VolumeDriver"]' + b" " * (1 << 20) + b"}"))
    with pytest.raises(Unknown, match=r"Plugin\.Activate is too long: at most 1 MiB"):
        activate(path, load_config(LEAST), PATIENCE)


def test_a_request_that_is_not_read_is_not_waited_for(path: Path) -> None:
    with listening(path), pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        call(path, "X", {"x": "x" * (8 << 20)}, timeout=0.2)


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    """A socket whose queue holds few connections."""
    with listening(path) as listener:
        listener.listen(0)
        yield listener


@pytest.fixture
def waiting(path: Path, listener: socket.socket) -> Iterator[contextlib.ExitStack]:
    """As many connections that are not accepted as its queue holds."""
    with contextlib.ExitStack() as waiting:
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.enter_context(dial(path))
        yield waiting


@pytest.mark.usefixtures("waiting")
def test_a_server_that_accepts_no_connection_is_not_waited_for(path: Path, alive: int) -> None:
    wait_for_socket(path, timeout=LONG, ended=alive)  # it listens
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        call(path, "X", timeout=0.2)


def test_a_server_that_accepts_late_is_called(
    path: Path, listener: socket.socket, waiting: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve() -> None:
        while True:
            client, _ = listener.accept()
            with client:
                if client.recv(1 << 16):
                    client.sendall(http(b"{}"))
                    return

    def refused(path: Path) -> socket.socket:
        monkeypatch.undo()
        with waiting, pytest.raises(BlockingIOError) as raised:
            dial(path)
        thread.start()
        raise raised.value

    thread = threading.Thread(target=serve, daemon=True)
    monkeypatch.setattr(connection, "dial", refused)
    assert call(path, "X", timeout=PATIENCE) == {}
    thread.join()


def test_a_link_in_place_of_the_socket_is_not_followed(path: Path, alive: int) -> None:
    with listening(path.with_name("other")) as other:
        path.symlink_to("other")
        other.setblocking(False)
        with pytest.raises(FailedPrecondition, match=r"'x\.sock' is a symbolic link, which is not followed"):
            wait_for_socket(path, timeout=LONG, ended=alive)
        with pytest.raises(FailedPrecondition, match="is a symbolic link"):
            call(path, "X")
        with pytest.raises(BlockingIOError):
            other.accept()


def test_files_that_are_made_without_end_do_not_outlast_the_deadline(
    path: Path, alive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read

    def flooded(descriptor: int, count: int) -> bytes:
        (path.parent / "another").touch()
        (path.parent / "another").unlink()
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", flooded)
    (path.parent / "first").touch()
    with pytest.raises(DeadlineExceeded):
        wait_for_socket(path, timeout=0.2, ended=alive)


@pytest.mark.parametrize(("make", "says"), [(Path.touch, "it is not a socket"), (lambda _: None, "no such file")])
def test_where_nothing_listens_it_is_unavailable(path: Path, make: Callable[[Path], None], says: str) -> None:
    make(path)
    with pytest.raises(Unavailable, match=f"connection to its socket 'x.sock' failed: {says}"):
        call(path, "X")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b'{"Implements": ["VolumeDriver", "more"]}', None),
        (b'{"Implements": ["volumedriver"]}', None),
        (b'{"Implements": ["NetworkDriver"]}', r"has docker\.volumedriver/1\.0, but .* answered NetworkDriver"),
        (b'{"Implements": []}', "answered nothing"),
        (b'{"Implements": "VolumeDriver"}', "has no list of strings 'Implements'"),
        (b'{"Implements": [1]}', "has no list of strings 'Implements'"),
        (b"[]", "has no list of strings 'Implements'"),
    ],
)
def test_what_it_implements_must_be_what_its_configuration_says(
    path: Path, new_server: NewServer, answer: bytes, says: str | None
) -> None:
    new_server(http(answer))
    if says is None:
        assert activate(path, load_config(LEAST), PATIENCE)
    else:
        with pytest.raises(FailedPrecondition, match=says):
            activate(path, load_config(LEAST), PATIENCE)
