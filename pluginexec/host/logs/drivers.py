"""Log drivers: where a plugin's output is kept, and which sinks of the executor bring it there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pluginexec.errors import InvalidArgument
from pluginexec.host.records import Record
from pluginexec.streams.json_file import JsonFile
from pluginexec.streams.json_logger import JsonLog
from pluginexec.streams.sinks import Sink
from pluginexec.types import Writer

JSON_FILE = "json-file"
RAW = "raw"
NONE = "none"
DRIVERS = (JSON_FILE, RAW, NONE)


def check_options(driver: str, options: Mapping[str, str]) -> None:
    """Raise ``InvalidArgument`` for what ``--log-opt`` cannot be with this driver."""
    if driver == JSON_FILE:
        JsonFile.from_options("log", options)
    elif options:
        raise InvalidArgument(f"log driver {driver} has no options; {JSON_FILE} has max-size and max-file")


def log_file(record: Record, directory: Path) -> Path | None:
    """Return the file that is written to now, stdout's where each stream has its own; ``None`` if there is none."""
    if record.log_driver == JSON_FILE:
        return directory / f"{record.id}-json.log"
    return directory / "stdout.log" if record.log_driver == RAW else None


def detached_sinks(record: Record, directory: Path) -> tuple[Sink, Sink]:
    """Return the sinks of a detached plugin: its own logger writes."""
    if record.log_driver == JSON_FILE:
        sink = _json_file(record, directory)
        return sink, sink
    if record.log_driver == RAW:
        return directory / "stdout.log", directory / "stderr.log"
    return None, None


def attached_sinks(
    record: Record, directory: Path, stdout: Writer | None = None, stderr: Writer | None = None
) -> tuple[Sink, Sink]:
    """Return the sinks of a plugin that this process stays with: to the given writers, and to its log."""
    logs: tuple[Writer | None, Writer | None] = (None, None)
    if record.log_driver == JSON_FILE:
        options = _json_file(record, directory)
        log = JsonLog(os.fspath(options.path), options.max_size, options.max_file)
        logs = log.writer("stdout"), log.writer("stderr")
    elif record.log_driver == RAW:
        out, err = detached_sinks(record, directory)
        assert isinstance(out, Path)
        assert isinstance(err, Path)
        logs = out.open("ab", buffering=0), err.open("ab", buffering=0)
    return _both(stdout, logs[0]), _both(stderr, logs[1])


def _json_file(record: Record, directory: Path) -> JsonFile:
    return JsonFile.from_options(directory / f"{record.id}-json.log", record.log_opts)


def _both(stream: Writer | None, log: Writer | None) -> Writer | None:
    return _Tee(stream, log) if stream and log else stream or log


class _Tee:
    """A writer to a log, and then to a stream: what somebody has seen is in the log."""

    def __init__(self, stream: Writer, log: Writer) -> None:
        self._stream, self._log = stream, log

    def write(self, data: bytes, /) -> None:
        """Write all of ``data`` to both."""
        self._log.write(data)
        while data:
            taken = self._stream.write(data)
            data = b"" if taken is None else data[taken:]

    def close(self) -> None:
        """Close both."""
        try:
            self._stream.close()
        finally:
            self._log.close()
