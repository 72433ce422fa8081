"""The files of one log: the one that is written, and those that it became when it was full, found by their inodes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 1 << 18
"""Bytes read at once; no entry of the loggers is so long, a longer line comes from another program."""
_ATTEMPTS = 100


class LogFile:
    """A log file that is open: it is the same file, whatever name it has by now."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._position = 0

    def close(self) -> None:
        """Close it; may be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def is_at(self, path: Path) -> bool:
        """Return whether this file has that name now."""
        try:
            return os.path.samestat(path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def is_same(self, other: LogFile) -> bool:
        """Return whether another is this file, opened once more."""
        return os.path.samestat(os.fstat(self._descriptor), os.fstat(other._descriptor))

    def size(self) -> int:
        """Return how many bytes it has."""
        return os.fstat(self._descriptor).st_size

    def lines(self) -> list[bytes]:
        """Return the next whole lines, without their newlines, of a block of the file; none at its end.

        Half a line is left where it is, for later: a writer whose disk is full takes it away again.
        """
        while data := os.pread(self._descriptor, _BLOCK, self._position):
            end = data.rfind(b"\n")
            if end >= 0:
                self._position += end + 1
                return data[:end].split(b"\n")
            if len(data) < _BLOCK:
                break
            self._position += len(data)
        return []

    def lines_backwards(self) -> Iterator[bytes]:
        """Yield the whole lines from the last to the first; ``lines`` goes on behind the last."""
        start = self.size()
        rest: bytes | None = None
        while start > 0:
            size = min(start, _BLOCK)
            start -= size
            data = os.pread(self._descriptor, size, start)
            if rest is None:
                end = data.rfind(b"\n")
                if end < 0:
                    continue
                self._position = start + end + 1
                data, rest = data[:end], b""
            first, *others = (data + rest).split(b"\n")
            yield from reversed(others)
            rest = first if len(first) < _BLOCK else b""
        if rest is not None:
            yield rest

    def bytes(self) -> Iterator[bytes]:
        """Yield what has not been read yet; from the beginning if the file has become shorter."""
        if self.size() < self._position:
            self._position = 0
        while data := os.pread(self._descriptor, _BLOCK, self._position):
            self._position += len(data)
            yield data

    def skip_to_tail(self, count: int) -> None:
        """Make ``bytes`` begin with the last ``count`` lines; the last may be without a newline."""
        position = size = self.size()
        needed = count + 1
        while position > 0 and needed:
            start = max(0, position - _BLOCK)
            data = os.pread(self._descriptor, position - start, start)
            if position == size and not data.endswith(b"\n"):
                needed -= 1
            end = len(data)
            while needed and (end := data.rfind(b"\n", 0, end)) >= 0:
                needed -= 1
            if not needed:
                start += end + 1
            position = start
        self._position = position if count else size


def open_files(path: Path) -> list[LogFile]:
    """Open all files of a log, the oldest first; none if there is none."""
    for attempt in range(_ATTEMPTS):
        files = []
        names = _names(path)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                files.append(LogFile(name))
        # Renamed while we looked: one may have been missed, another opened twice.
        steady = len(files) == len(names) and all(map(LogFile.is_at, files, names)) and _names(path) == names
        if steady or attempt == _ATTEMPTS - 1:
            break
        for file in files:
            file.close()
    return files


def _names(path: Path) -> list[Path]:
    numbers = []
    pattern = re.compile(re.escape(path.name) + r"\.([1-9]\d{0,8})", re.ASCII)
    try:
        found = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    for name in found:
        if match := pattern.fullmatch(name):
            numbers.append(int(match[1]))
    older = [path.with_name(f"{path.name}.{number}") for number in sorted(numbers, reverse=True)]
    return older + ([path] if path.name in found else [])
