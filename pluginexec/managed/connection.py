"""One http exchange over the socket of a plugin: one deadline over all of it, and a bound on all that is read.

What a plugin does with its socket is its own choice: it may send a byte now and then, or headers without end, or never
accept a connection, or have a link to a service of the host in its place.
"""

from __future__ import annotations

import errno
import http.client
import io
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

from pluginexec.containerd.remote import LONGEST_TIMEOUT

_LONGEST_HEAD = 1 << 16
"""Bytes of the status line and the headers, with those of all interim answers (1xx) before them."""
_CHUNK = 1 << 16
# A chunked answer has some bytes around each chunk; servers send chunks of 2 KiB or more.
_FRAMING = 16
_DIGITS = 18
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class IsLink(OSError):
    """The socket is a symbolic link."""


class TooLong(http.client.HTTPException):
    """An answer, or its head, is longer than is allowed."""


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    content_type: str
    body: bytes


class Deadline:
    """The time until which an exchange must be over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + min(seconds, LONGEST_TIMEOUT)

    def left(self) -> float:
        """Return the seconds that are left; raise ``TimeoutError`` if none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def dial(path: Path) -> socket.socket:
    """Return a connection to a socket, without waiting: ``BlockingIOError`` if too many wait for it already.

    A symbolic link is not followed (``IsLink``): it could lead to another service of the host. The path may be longer
    than the 107 bytes that the kernel takes.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISLNK(mode):
                raise IsLink(errno.ELOOP, "it is a symbolic link")
            if not stat.S_ISSOCK(mode):
                raise ConnectionRefusedError(errno.ECONNREFUSED, "it is not a socket")
            sock.setblocking(False)
            sock.connect(f"/proc/self/fd/{descriptor}")  # to what was looked at, whatever has its name now
        finally:
            os.close(descriptor)
    except BaseException:
        sock.close()
        raise
    return sock


def exchange(path: Path, request: bytes, timeout: float, longest: int) -> Answer:
    """Send a whole request, and return the answer.

    Raises ``TimeoutError`` if that takes longer than ``timeout`` seconds, ``TooLong`` if the body has more than
    ``longest`` bytes, ``http.client.HTTPException`` if it is not http, and other ``OSError`` of the connection.
    """
    deadline = Deadline(timeout)
    with _connected(path, deadline) as sock:
        sock.settimeout(deadline.left())  # of the whole sendall, which the kernel may take in parts
        sock.sendall(request)
        reader = _BoundedReader(sock, deadline)
        response = http.client.HTTPResponse(cast(socket.socket, reader), method="POST")
        with response:
            response.begin()
            _check_length(response, longest)
            reader.limit = longest + longest // _FRAMING + _CHUNK
            body = _read_body(response, longest)
        return Answer(response.status, response.getheader("Content-Type", ""), body)


def _connected(path: Path, deadline: Deadline) -> socket.socket:
    pause = _FIRST_PAUSE
    while True:
        try:
            return dial(path)
        except BlockingIOError:  # and no descriptor tells when the queue is shorter
            time.sleep(min(pause, deadline.left()))
            pause = min(2 * pause, _LONGEST_PAUSE)


class _BoundedReader(io.RawIOBase):
    """Reads from a socket until the deadline, at most ``limit`` bytes more."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self.limit = _LONGEST_HEAD

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what ``HTTPResponse`` reads from; this is all that it wants of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read some bytes."""
        self._sock.settimeout(self._deadline.left())
        count = self._sock.recv_into(buffer)
        self.limit -= count
        if self.limit < 0:
            raise TooLong
        return count


def _check_length(response: http.client.HTTPResponse, longest: int) -> None:
    # HTTPResponse takes the first of several, and a negative one for none.
    lengths = {length.strip() for length in response.headers.get_all("Content-Length", [])}
    if len(lengths) > 1 or not all(length.isascii() and length.isdecimal() for length in lengths):
        raise http.client.HTTPException("its Content-Length is not one number")
    if any(len(length) > _DIGITS or int(length) > longest for length in lengths):
        raise TooLong


def _read_body(response: http.client.HTTPResponse, longest: int) -> bytes:
    body = bytearray()
    while not response.isclosed():  # newer Python versions close it after the last byte
        chunk = response.read1(_CHUNK)
        if not chunk:
            break
        body += chunk
        if len(body) > longest:
            raise TooLong
    if response.length:  # read1 does not raise if the connection ends before the answer
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)
