"""Docker's plugin protocol, as little of it as there must be: a request, an answer, and the connection is closed."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

DIRECTORY = "/run/docker/plugins"
_REASONS = {200: "OK", 404: "Not Found", 500: "Internal Server Error"}
Method = Callable[[dict[str, Any]], object]


def serve(name: str, implements: str, methods: Mapping[str, Method]) -> None:
    """Answer for ever, one call after the other; SIGTERM ends that with code 0.

    A method returns what is written as JSON, or bytes; what it raises is told in ``Err``.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    known = {"Plugin.Activate": lambda body: {"Implements": [implements]}, **methods}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{DIRECTORY}/{name}")
    listener.listen()
    print(f"{implements} listens", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            line = stream.readline().split()
            if len(line) == 3:  # not one that only dials
                status, data = _answer(known, line[1].decode().lstrip("/"), _body(stream))
                head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {_kind(data)}\r\n"
                stream.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)


def _body(stream: Any) -> bytes:
    length = 0
    while (header := stream.readline().strip()) != b"":
        key, _, value = header.partition(b":")
        if key.lower() == b"content-length":
            length = int(value)
    return bytes(stream.read(length))


def _kind(data: bytes) -> str:
    return "application/json" if data[:1] in (b"{", b"[") else "application/x-json-stream"


def _answer(known: Mapping[str, Method], method: str, body: bytes) -> tuple[int, bytes]:
    print(method, file=sys.stderr, flush=True)
    if method not in known:
        return 404, json.dumps({"Err": f"no method {method}"}).encode()
    try:
        answer = known[method](json.loads(body or b"{}"))
    except Exception as error:
        return 500, json.dumps({"Err": f"{type(error).__name__}: {error}"}).encode()
    return 200, answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def environment(name: str) -> str:
    """Return a variable that the plugin's user may set; empty if it is not set."""
    return os.environ.get(name, "")
