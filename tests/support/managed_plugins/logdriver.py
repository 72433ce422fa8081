"""A log plugin: it reads entries from a FIFO, length first, then protobuf, and keeps them to be read again."""

import _thread
import struct
from typing import Any

from server import serve  # type: ignore[import-not-found]

_LENGTH = struct.Struct(">I")
_entries: dict[str, list[bytes]] = {}
_readers: dict[str, Any] = {}
_lines: dict[str, list[str]] = {}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(entry: bytes) -> dict[int, Any]:
    """Return the fields of a protobuf message by their numbers; docker's has numbers and bytes only."""
    found: dict[int, Any] = {}
    at = 0
    while at < len(entry):
        key, at = _varint(entry, at)
        value, at = _varint(entry, at)
        if key & 7 == 2:
            found[key >> 3], at = entry[at : at + value], at + value
        else:
            found[key >> 3] = value
    return found


def _read(path: str, id: str, done: Any) -> None:
    with open(path, "rb") as stream:  # waits for docker to open its end
        while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
            entry = stream.read(_LENGTH.unpack(head)[0])
            found = fields(entry)
            _lines[id].append(f"{found[1].decode()}: {found[3].decode()}")
            _entries[id].append(head + entry)
    done.release()


def _start(body: dict[str, Any]) -> object:
    id = body["Info"]["ContainerID"]
    _entries[id], _lines[id], _readers[body["File"]] = [], [], _thread.allocate_lock()
    _readers[body["File"]].acquire()
    _thread.start_new_thread(_read, (body["File"], id, _readers[body["File"]]))
    return {"Err": ""}


def _stop(body: dict[str, Any]) -> object:
    with _readers.pop(body["File"]):
        return {"Err": ""}


def main() -> None:
    """Serve; ``Test.Lines`` is no part of docker's protocol."""
    serve(
        "log.sock",
        "LogDriver",
        {
            "LogDriver.StartLogging": _start,
            "LogDriver.StopLogging": _stop,
            "LogDriver.Capabilities": lambda body: {"Cap": {"ReadLogs": True}},
            "LogDriver.ReadLogs": lambda body: b"".join(_entries[body["Info"]["ContainerID"]]),
            "Test.Lines": lambda body: _lines[body["ContainerID"]],
        },
    )
