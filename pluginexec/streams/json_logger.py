r"""Write docker's json-file log: as a process of its own that reads a plugin's output, or inside any other.

::

    {"log":"text\n","stream":"stdout","time":"2026-11-24T01:02:03.123456789Z"}

Each plugin has such a process, so this imports nothing but what is built into Python, no other module of the package:
with ``json``, which brings ``re``, it would take twice as long to start and a third more memory.
"""

import posix
import sys
import time
from _json import encode_basestring as quote
from _thread import allocate_lock

ENTRY_SIZE = 16 << 10
"""Bytes of a line that go into one entry: docker's. Of a longer line's entries only the last ends with a newline."""
STREAMS = ("stdout", "stderr")
READY = 9
"""The descriptor at which the starter of the process waits; it gets one byte."""
_FLAGS = posix.O_RDWR | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC
_CHUNK = 1 << 16
_LONGEST = 1 << 17
"""Bytes that one entry may take in the file; a control character takes six."""


class JsonLog:
    """A log that is appended to; may be used from several threads.

    It never fails: what cannot be written, because the disk is full, is discarded, and it goes on when there is room.
    """

    def __init__(self, path: str, max_size: int = -1, max_file: int = 1) -> None:
        self._files = _Files(path, max_size, max_file)
        self._rests = dict.fromkeys(STREAMS, b"")
        self._lock = allocate_lock()
        self._writers = 0

    def write(self, stream: str, data: bytes) -> None:
        """Take what came from a stream; a line is written when its newline is there."""
        with self._lock:
            *lines, rest = (self._rests[stream] + data).split(b"\n")
            end = _end(stream)
            entries: list[bytes] = []
            for line in lines:
                if len(line) > ENTRY_SIZE:
                    line = _cut(line, end, entries)
                entries.append(_entry(line, "\\n", end))
            if len(rest) > ENTRY_SIZE:
                rest = _cut(rest, end, entries)
            self._rests[stream] = rest
            if entries:
                self._files.append(entries)

    def end(self, stream: str) -> None:
        """Write the last line of a stream, where it had no newline."""
        with self._lock:
            rest, self._rests[stream] = self._rests[stream], b""
            if rest:
                self._files.append([_entry(rest, "", _end(stream))])

    def close(self) -> None:
        """End both streams, and close the file."""
        for stream in STREAMS:
            self.end(stream)
        with self._lock:
            self._files.close()

    def writer(self, stream: str) -> "StreamWriter":
        """Return a writer for one stream, as ``Executor.create`` takes it; the last one that is closed closes all."""
        with self._lock:
            self._writers += 1
        return StreamWriter(self, stream)

    def let_go(self) -> None:
        """Count one writer less; after the last, close the log."""
        with self._lock:
            self._writers -= 1
            last = not self._writers
        if last:
            self.close()


class StreamWriter:
    """Writes one stream to a log."""

    def __init__(self, log: JsonLog, stream: str) -> None:
        self._log = log
        self._stream = stream

    def write(self, data: bytes, /) -> None:
        """Take all of ``data``."""
        self._log.write(self._stream, data)

    def close(self) -> None:
        """Write the last line, where it had no newline."""
        self._log.end(self._stream)
        self._log.let_go()


class _Files:
    """The file, and the older ones: ``PATH.1``, ``PATH.2``, ... up to ``max_file`` in all."""

    def __init__(self, path: str, max_size: int, max_file: int) -> None:
        self._path, self._max_size, self._max_file = path, max_size, max_file
        self._descriptor = -1
        self._size = 0

    def append(self, entries: list[bytes]) -> None:
        """Write entries; a file that has no room for the next one makes way before it."""
        data = b"".join(entries)
        if self._descriptor < 0:
            self._open()
        if self._max_size < 0 or self._size + len(data) <= self._max_size:
            self._write(data)
            return
        for entry in entries:
            if self._size and self._size + len(entry) > self._max_size:
                self._rotate()
            self._write(entry)

    def close(self) -> None:
        """Close the file; what is appended later opens it again."""
        if self._descriptor >= 0:
            posix.close(self._descriptor)
        self._descriptor, self._size = -1, 0

    def _write(self, data: bytes) -> None:
        try:
            written = posix.write(self._descriptor, data)
            self._size += written
            if written < len(data):
                # The disk is full. Whole entries stay, the last one must not run into the next that finds room.
                torn = written - data.rfind(b"\n", 0, written) - 1
                posix.ftruncate(self._descriptor, posix.fstat(self._descriptor).st_size - torn)
                self._size -= torn
        except OSError:
            pass  # discarded: the plugin must not wait for the disk

    def _open(self) -> None:
        try:
            self._descriptor = posix.open(self._path, _FLAGS, 0o640)
            self._size = _mend(self._descriptor)
        except OSError:
            pass  # tried again when there is something to write

    def _rotate(self) -> None:
        # A reader that has the old file open finds all of it there: nothing is ever taken out of a file.
        self.close()
        try:
            if self._max_file == 1:
                posix.unlink(self._path)
            for number in range(self._max_file - 1, 0, -1):
                older = f"{self._path}.{number - 1}" if number > 1 else self._path
                try:  # noqa: SIM105 # contextlib is more to load than all of this
                    posix.rename(older, f"{self._path}.{number}")
                except FileNotFoundError:
                    pass
        except OSError:
            pass  # the old file goes on
        self._open()


def _end(stream: str) -> str:
    """Return what follows the text in the entries of one write."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f',"stream":"{stream}","time":"{date}.{nanoseconds:09d}Z"}}\n'


def _entry(line: bytes, newline: str, end: str) -> bytes:
    return f'{{"log":{quote(line.decode("utf-8", "replace"))[:-1]}{newline}"{end}'.encode()


def _cut(line: bytes, end: str, entries: list[bytes]) -> bytes:
    """Make entries of the beginning of a long line, and return the rest; no character is cut in two."""
    start = 0
    while len(line) - start > ENTRY_SIZE:
        stop = start + ENTRY_SIZE
        while stop > start + ENTRY_SIZE - 3 and line[stop] & 0xC0 == 0x80:
            stop -= 1
        entries.append(_entry(line[start:stop], "", end))
        start = stop
    return line[start:]


def _mend(descriptor: int) -> int:
    """Take away half an entry, left at the end of the file by a logger that was killed; return the file's size."""
    size = posix.fstat(descriptor).st_size
    tail = posix.pread(descriptor, _LONGEST, max(0, size - _LONGEST))
    torn = len(tail) - tail.rfind(b"\n") - 1
    if torn:
        posix.ftruncate(descriptor, size - torn)
    return size - torn


def main() -> None:
    """Be the logger of one container: stdout on descriptor 3, stderr on 4; end when both have ended.

    Arguments: the path, the size and the number of its files, the streams to be kept, and the plugin's directory.
    Signals that ask it to end are ignored by its starter.
    """
    import select

    path, max_size, max_file, kept, directory = sys.argv[1:]
    log = JsonLog(path, int(max_size), int(max_file))
    sources = {3: "stdout", 4: "stderr"}
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    its_directory = _open_directory(directory)
    try:
        posix.write(READY, b"\n")
        posix.close(READY)
    except OSError:
        pass  # a logger before this one was killed after it was ready
    # A module beside this one, as its starter has set the path; not loaded while containerd waits.
    ends = __import__("end_recorder").EndRecorder(its_directory, poll)
    while sources:
        ready = poll.poll(ends.pause)
        for source, _ in ready:
            if source == ends.pidfd:
                ends.end()
                continue
            data = posix.read(source, _CHUNK)
            if not data:
                poll.unregister(source)
                log.end(sources.pop(source))
            elif sources[source] in kept and ends.has_begun():
                log.write(sources[source], data)
        if ends.pause:
            ends.look()
    ends.finish()


def _open_directory(path: str) -> int:
    """Open a plugin's directory; after that was made anew, for the next one of the id, this is still the old one."""
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return -1  # removed while the plugin runs; its log goes on


if __name__ == "__main__":
    main()
