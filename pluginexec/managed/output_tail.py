"""The end of a plugin's output, for the error that says why it could not be enabled."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from pluginexec.streams.json_file import JsonFile
from pluginexec.streams.sinks import Sink
from pluginexec.types import Writer

KEPT = 1024
"""Bytes kept of each stream."""


class _Tail:
    """Forwards to a writer, if there is one, and keeps the end of what was written; never closes the writer."""

    def __init__(self, writer: Writer | None) -> None:
        self._writer = writer
        self._kept = bytearray()

    def write(self, data: bytes, /) -> int | None:
        count = None
        try:
            if self._writer is not None:
                count = self._writer.write(data)
        finally:
            self._kept += data if count is None else data[:count]
            del self._kept[:-KEPT]
        return count

    def close(self) -> None:
        """Do nothing: the writer also serves the next run of the plugin."""

    def begin(self) -> None:
        self._kept.clear()

    def read(self) -> str:
        return self._kept.decode(errors="replace")


class _FileTail:
    """The end of a file that a logger writes, from its size when this run of the plugin began."""

    def __init__(self, path: str | os.PathLike[str], *, is_json: bool) -> None:
        self._path = Path(os.fsdecode(path))
        self._is_json = is_json
        self._start = 0

    def begin(self) -> None:
        self._start = self._size()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self) -> str:
        size = self._size()
        start = self._start if size >= self._start else 0  # the file was rotated
        try:
            with self._path.open("rb") as file:
                # A line of JSON is longer than the output in it.
                file.seek(max(start, size - KEPT * (4 if self._is_json else 1)))
                data = file.read().decode(errors="replace")
        except OSError:
            return ""
        return _unwrapped(data) if self._is_json else data


def _unwrapped(data: str) -> str:
    """Return the output in lines of docker's log format; the first line may be incomplete."""
    text = ""
    for line in data.split("\n"):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            text += json.loads(line)["log"]
    return text[-KEPT:]


class OutputTail:
    """The sinks of a plugin's streams, the same for each of its runs, and the end of what was written to them.

    ``stdout`` and ``stderr`` are the sinks for the executor. A stream without a sink is relayed all the same, to keep
    its end; but not beside a ``JsonFile``, which cannot be combined with a writer.
    """

    def __init__(self, stdout: Sink, stderr: Sink) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._tails: list[_Tail | _FileTail] = []
        alone = isinstance(stdout, JsonFile) or isinstance(stderr, JsonFile)
        for sink in dict.fromkeys((id(stdout), id(stderr))):
            self._follow(stdout if sink == id(stdout) else stderr, alone)

    def _follow(self, sink: Sink, alone: bool) -> None:
        if isinstance(sink, JsonFile):
            self._tails.append(_FileTail(sink.path, is_json=True))
        elif isinstance(sink, (str, os.PathLike)):
            self._tails.append(_FileTail(sink, is_json=False))
        elif sink is not None or not alone:
            tail = _Tail(sink)
            self._tails.append(tail)
            # One tail if both sinks are the same, which keeps the order of the plugin.
            self.stdout, self.stderr = (tail if each is sink else each for each in (self.stdout, self.stderr))

    def begin(self) -> None:
        """Forget the output of earlier runs."""
        for tail in self._tails:
            tail.begin()

    def text(self) -> str:
        """Return the end of the output of this run, of both streams."""
        return "\n".join(text for tail in self._tails if (text := tail.read().strip()))
