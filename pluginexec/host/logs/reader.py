"""Reading the logs of plugins: what there is, and what comes until the plugin has ended."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from pluginexec.errors import InvalidArgument
from pluginexec.host.logs.files import LogFile, open_files
from pluginexec.host.timestamps import parse_when
from pluginexec.streams.json_logger import ENTRY_SIZE, STREAMS

log = logging.getLogger(__name__)

POLL = 0.005
"""Seconds until the next look for more, in which a fast plugin may fill several small files; then longer ones."""
_LONGEST_POLL = 0.02
_ASK_EVERY = 0.05
"""Seconds between two questions whether the plugin has ended, which cost more than a look."""
_LOOK_AFTER = 100
"""Lines after which we see whether there is a newer file: one that is open is not lost by rotation."""
_MOST_FILES, _MOST_BYTES = 500, 1 << 30
"""What is kept open for one who reads slower than the plugin writes: rotation may have deleted it."""
_LONGEST = 8 << 20
"""Bytes of a line that are put together; of a longer one the rest follows as lines without a newline."""


class Entry(NamedTuple):
    """A line, with its newline if it had one; of a raw log some bytes, and no time."""

    time: str | None
    """When it was complete: RFC 3339, to the nanosecond."""
    stream: str
    data: bytes


def json_path(directory: Path, id: str) -> Path:
    """Return where the json-file log of a plugin is."""
    return directory / f"{id}-json.log"


def raw_path(directory: Path, stream: str) -> Path:
    """Return where one stream of a plugin is, where its log is raw."""
    return directory / f"{stream}.log"


def read(
    directory: Path,
    id: str,
    driver: str,
    *,
    tail: int | None = None,
    since: int | None = None,
    until: int | None = None,
    streams: tuple[str, ...] = STREAMS,
) -> Iterator[Entry]:
    """Yield what is in a log, or its last ``tail`` lines (of each file where it is raw).

    ``since`` and ``until`` are nanoseconds since 1970, both included. Raises ``InvalidArgument`` where this driver
    keeps no log, or one without times.
    """
    reader = _reader(directory, id, driver, _Wanted(since, until, streams))
    return _read(reader, reader.existing(tail))


def follow(
    directory: Path,
    id: str,
    driver: str,
    ended: Callable[[], bool],
    *,
    tail: int | None = None,
    since: int | None = None,
    until: int | None = None,
    streams: tuple[str, ...] = STREAMS,
) -> Iterator[Entry]:
    """Yield what ``read`` yields and then what comes, until ``ended`` is true and all is read, or ``until`` is over.

    ``ended`` must not be true before the plugin's task is deleted: then its logger has written all.
    """

    def over() -> bool:
        return ended() or (until is not None and time.time_ns() > until)

    reader = _reader(directory, id, driver, _Wanted(since, until, streams))
    return _follow(reader, reader.existing(tail), over)


def _read(reader: _Reader, existing: Iterator[Entry]) -> Iterator[Entry]:
    try:
        yield from existing
    finally:
        reader.close()


def _follow(reader: _Reader, existing: Iterator[Entry], over: Callable[[], bool]) -> Iterator[Entry]:
    try:
        yield from existing
        last, asked, pause = False, -_ASK_EVERY, POLL
        while not last:
            # Asked before the look: what was written before the end is found after it.
            if time.monotonic() - asked >= _ASK_EVERY:
                last, asked = over(), time.monotonic()
            entry = None
            for entry in reader.more():
                yield entry
            if entry:
                pause = POLL
            elif not last:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_POLL)
    finally:
        reader.close()


class _Wanted(NamedTuple):
    since: int | None
    until: int | None
    streams: tuple[str, ...]

    def has(self, time: str | None) -> bool:
        """Return whether a time lies between the two."""
        if not self.has_bounds():
            return True
        with suppress(InvalidArgument):
            at = parse_when(time or "")
            return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)
        return False

    def has_bounds(self) -> bool:
        """Return whether not every time is wanted."""
        return self.since is not None or self.until is not None


class _Reader(Protocol):
    def existing(self, tail: int | None) -> Iterator[Entry]:
        """Yield what is there, or the last lines of it as they are now."""

    def more(self) -> Iterator[Entry]:
        """Yield what has come since."""

    def close(self) -> None:
        """Close the files."""


def _reader(directory: Path, id: str, driver: str, wanted: _Wanted) -> _Reader:
    if driver == "json-file":
        return _JsonReader(json_path(directory, id), wanted)
    if driver != "raw":
        hint = "choose another with --log-driver when you create it"
        raise InvalidArgument(f"its log driver {driver!r} keeps no log", operation="logs", id=id, hint=hint)
    if wanted.has_bounds():
        raise no_times(id)
    return _RawReader(directory, wanted.streams)


def no_times(id: str) -> InvalidArgument:
    """Return the error for times that are asked of a raw log."""
    hint = "choose --log-driver json-file when you create it"
    return InvalidArgument("its log is raw, and has no times", operation="logs", id=id, hint=hint)


class _RawReader:
    """Reads one file for each stream; how their lines lay in time is not known."""

    def __init__(self, directory: Path, streams: tuple[str, ...]) -> None:
        self._paths = {stream: raw_path(directory, stream) for stream in streams}
        self._files: dict[str, LogFile] = {}

    def existing(self, tail: int | None) -> Iterator[Entry]:
        self._open()
        for file in self._files.values() if tail is not None else ():
            file.skip_to_tail(tail or 0)
        return self.more()

    def more(self) -> Iterator[Entry]:
        self._open()
        for stream, file in self._files.items():
            for data in file.bytes():
                yield Entry(None, stream, data)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _open(self) -> None:
        for stream, path in self._paths.items():
            if stream not in self._files:
                with suppress(FileNotFoundError):
                    self._files[stream] = LogFile(path)


class _JsonReader:
    """Reads a json-file log through all its files, the oldest first."""

    def __init__(self, path: Path, wanted: _Wanted) -> None:
        self._path = path
        self._wanted = wanted
        self._files = open_files(path)
        self._warned = False

    def existing(self, tail: int | None) -> Iterator[Entry]:
        if tail is None:
            return self.more()
        lines = self._tail(tail)
        while len(self._files) > 1:
            self._files.pop(0).close()
        return lines

    def more(self) -> Iterator[Entry]:
        entries = (entry for line in self._lines() if (entry := self._parse(line)))
        yield from (entry for entry in _whole(entries) if self._wanted.has(entry.time))

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _lines(self) -> Iterator[bytes]:
        while True:
            # First the newer ones: where there are such, what is read of this one now is its end.
            self._find_newer()
            lines = self._files[0].lines() if self._files else []
            for begin in range(0, len(lines), _LOOK_AFTER):
                yield from lines[begin : begin + _LOOK_AFTER]
                self._find_newer()
            if not lines:
                if len(self._files) < 2:
                    return
                self._files.pop(0).close()

    def _find_newer(self) -> None:
        last = self._files[-1] if self._files else None
        if last and (last.is_at(self._path) or self._is_far_behind()):
            return
        found = open_files(self._path)
        known = [index for index, file in enumerate(found) if last and file.is_same(last)]
        if last and not known and len(found) > 1 and not self._warned:
            log.warning("%s was rotated faster than it could be read: some of it may be missing", self._path)
            self._warned = True
        newer = known[0] + 1 if known else 0
        for file in found[:newer]:
            file.close()
        self._files += found[newer:]

    def _is_far_behind(self) -> bool:
        return len(self._files) >= _MOST_FILES or sum(file.size() for file in self._files) >= _MOST_BYTES

    def _parse(self, line: bytes) -> Entry | None:
        """Return the entry of a line; ``None`` if it is torn, or not ours, or of a stream that is not wanted."""
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            content = json.loads(line)
            entry = Entry(content["time"], content["stream"], content["log"].encode("utf-8", "replace"))
            if isinstance(entry.time, str) and entry.stream in self._wanted.streams:
                return entry
        return None

    def _tail(self, count: int) -> Iterator[Entry]:
        """Return the last lines of those that are wanted, looking no further back than for their beginnings."""
        lines: list[list[Entry]] = []
        growing: dict[str, list[Entry]] = {}
        for entry in self._backwards():
            line = growing.get(entry.stream)
            if line and _is_partial(entry):
                line.append(entry)
                continue
            growing.pop(entry.stream, None)
            if len(lines) < count:
                if self._wanted.has(entry.time):
                    growing[entry.stream] = [entry]
                    lines.append(growing[entry.stream])
            elif not growing:
                break
        return (_joined(line[::-1]) for line in reversed(lines))

    def _backwards(self) -> Iterator[Entry]:
        for file in reversed(self._files):
            for line in file.lines_backwards():
                if entry := self._parse(line):
                    yield entry


def _is_partial(entry: Entry) -> bool:
    """Return whether more of the same line follows; the logger cuts no more than 3 bytes off, to keep a character."""
    return len(entry.data) >= ENTRY_SIZE - 3 and not entry.data.endswith(b"\n")


def _whole(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Put the entries of long lines together; what has no end yet comes last, as it is."""
    held: dict[str, list[Entry]] = {}
    for entry in entries:
        pieces = held.setdefault(entry.stream, [])
        pieces.append(entry)
        if not _is_partial(entry) or len(pieces) * ENTRY_SIZE > _LONGEST:
            yield _joined(held.pop(entry.stream))
    yield from map(_joined, held.values())


def _joined(pieces: list[Entry]) -> Entry:
    if len(pieces) == 1:
        return pieces[0]
    return pieces[-1]._replace(data=b"".join(piece.data for piece in pieces))
