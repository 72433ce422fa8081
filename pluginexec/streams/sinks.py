"""What a stream of a plugin may go to, checked and made ready before it starts."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeGuard

from pluginexec.errors import InvalidArgument
from pluginexec.linux.files import SHORTAGES, file_error
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.streams.fifos import STREAMS
from pluginexec.streams.json_file import JsonFile
from pluginexec.streams.shell_logger import redirect_to_fifo, redirect_to_file
from pluginexec.types import Writer

Sink: TypeAlias = "Writer | JsonFile | str | os.PathLike[str] | None"
"""What ``create`` and ``restore`` accept for a stream: a writer, the path of a file to append to, or ``None``.

``create`` takes a ``JsonFile`` too, for one stream, or the same one for both.
"""


class _Shared:
    """A writer that was given for both streams: it is closed when both have ended."""

    def __init__(self, writer: Writer) -> None:
        self.write = writer.write
        self._writer = writer
        self._lock = threading.Lock()
        self._users = 2

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self._writer.close()


def prepare(fifo: Path, sink: Sink) -> str:
    """Make the FIFO or the file that the logger writes to, and return the redirection to it."""
    if sink is None or isinstance(sink, (str, os.PathLike)):
        if sink is not None:
            open_file(sink).close()  # the logger cannot tell us that it may not
        return redirect_to_file(sink)
    try:
        os.mkfifo(fifo, 0o600)
    except OSError as error:
        raise file_error(error, f"FIFO {str(fifo)!r} cannot be made") from error
    return redirect_to_fifo(fifo)


def prepare_json(files: PluginFiles, stdout: Sink, stderr: Sink) -> tuple[str, ...]:
    """Check that the log can be written, and return the arguments of ``ctr run`` for its logger."""
    kept = {name: sink for name, sink in zip(STREAMS, (stdout, stderr), strict=True) if sink is not None}
    sink = next(iter(kept.values()))
    if not isinstance(sink, JsonFile) or any(other != sink for other in kept.values()):
        raise InvalidArgument(
            "stdout and stderr cannot go to a JsonFile and to something else",
            hint="give the same JsonFile for both, or None for one",
        )
    open_file(sink.path).close()  # the logger cannot tell us that it may not
    return sink.arguments(tuple(kept), files.config)


def is_writer(sink: Sink) -> TypeGuard[Writer]:
    """Return whether bytes for this sink pass through this process."""
    return not (sink is None or isinstance(sink, (str, os.PathLike, JsonFile)))


def check_sink(sink: object) -> None:
    """Raise ``InvalidArgument`` unless ``sink`` is a writer, a path, a ``JsonFile`` or ``None``."""
    if sink is None or isinstance(sink, (str, os.PathLike, JsonFile)):
        return
    if not callable(getattr(sink, "write", None)) or not callable(getattr(sink, "close", None)):
        raise InvalidArgument(f"a sink is a path, None, or has write(bytes) and close(); got {type(sink).__name__}")
    if isinstance(sink, io.TextIOBase):
        raise InvalidArgument("a sink takes bytes, and this file is open for text: use its .buffer, or mode 'wb'")


def share(stdout: Sink, stderr: Sink) -> tuple[Sink, Sink]:
    """Return the sinks, with a writer that was given for both behind a count of its users."""
    if stdout is not stderr or not is_writer(stdout):
        return stdout, stderr
    shared = _Shared(stdout)
    return shared, shared


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to append to it; ``InvalidArgument`` if that is not possible, ``Unavailable`` if it may be later."""
    try:
        return open(path, "ab", buffering=0, opener=_open_at_once)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in SHORTAGES:
            raise file_error(error, f"output file {os.fspath(path)!r} cannot be opened") from error
        raise InvalidArgument(f"output file {os.fspath(path)!r} cannot be opened: {error}") from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, but do not wait for a reader where it is a FIFO."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor
