"""What a plugin printed last, for the error that says why it could not be enabled."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from pluginexec.streams.json_file import JsonFile
from pluginexec.types import Sink, Writer

KEPT = 1024
"""Bytes that are kept of each stream."""


class _Tail:
    """A writer before another one, or before none; it keeps the end of what passes, and closes nothing."""

    def __init__(self, writer: Writer | None) -> None:
        self._writer = writer
        self._kept = bytearray()

    def write(self, data: bytes, /) -> int | None:
        taken = None
        try:
            if self._writer is not None:
                taken = self._writer.write(data)
        finally:
            self._kept += data if taken is None else data[:taken]
            del self._kept[:-KEPT]
        return taken

    def close(self) -> None:
        """Do nothing: the writer is there for the next life too."""

    def begin(self) -> None:
        self._kept.clear()

    def read(self) -> str:
        return self._kept.decode(errors="replace")


class _FileTail:
    """The end of a file that a logger writes, from where it ended when this life began."""

    def __init__(self, path: str | os.PathLike[str], *, is_json: bool) -> None:
        self._path = Path(os.fsdecode(path))
        self._is_json = is_json
        self._from = 0

    def begin(self) -> None:
        self._from = self._size()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self) -> str:
        size = self._size()
        begin = self._from if size >= self._from else 0  # it has been rotated
        try:
            with self._path.open("rb") as file:
                # A line of JSON is longer than what it holds.
                file.seek(max(begin, size - KEPT * (4 if self._is_json else 1)))
                data = file.read().decode(errors="replace")
        except OSError:
            return ""
        return _unwrapped(data) if self._is_json else data


def _unwrapped(data: str) -> str:
    """Return what the lines of a log in docker's format hold; the first may be the end of one."""
    text = ""
    for line in data.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text += json.loads(line)["log"]
    return text[-KEPT:]


class OutputTail:
    """The sinks of a plugin's streams, which serve each of its lives, and what went to them last.

    ``stdout`` and ``stderr`` are what the executor is given. A stream that nobody wants is relayed all the same, to be
    kept for a while, but not beside a ``JsonFile``, which stands alone.
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
            # One tail where both are the same: its order is that of the plugin.
            self.stdout, self.stderr = (tail if each is sink else each for each in (self.stdout, self.stderr))

    def begin(self) -> None:
        """Forget what an earlier life said."""
        for tail in self._tails:
            tail.begin()

    def text(self) -> str:
        """Return the end of what this life has printed, of both streams."""
        return "\n".join(text for tail in self._tails if (text := tail.read().strip()))
