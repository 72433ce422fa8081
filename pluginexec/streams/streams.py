"""The streams of one plugin: its FIFOs and their relays, from before it starts until after it was deleted."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import time
from pathlib import Path
from typing import BinaryIO

from pluginexec.errors import InvalidArgument, Unavailable
from pluginexec.linux.files import file_error
from pluginexec.linux.locks import release_lock
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.streams.fifos import STREAMS, find_fifos
from pluginexec.streams.json_file import JsonFile
from pluginexec.streams.relay import Relay, close_writer
from pluginexec.streams.shell_logger import NO_LOGGER, logger_arguments
from pluginexec.streams.sinks import Sink, is_writer, open_file, prepare, prepare_json, share
from pluginexec.types import Writer

log = logging.getLogger(__name__)

PIPE_SIZE = 1 << 20
"""Bytes a FIFO, or the pipe of a plugin, holds; the kernel's 64 KiB halve the throughput."""
DRAIN_IDLE = 10.0
"""Seconds without a byte, after the task was deleted, that the end of a stream is waited for."""
DRAIN_TOTAL = 60.0
"""Seconds in all that the end of the streams is waited for, however much still comes."""
STOP_TIMEOUT = 5.0
"""Seconds that a writer may take to return when the relays are stopped."""


class Streams:
    """The relays of one plugin, with the lock that tells its logger that somebody reads.

    ::

        create, open, attach --> new --start--> started --drain, stop--> closed
                                  |                |
                                  |                +--halt--> halted --stop--> closed
                                  +--discard--> released (no byte relayed, the writers left open)
                                  +--abandon--> closed (no byte relayed)

    In the state closed every writer is closed; what was not read stays in the FIFOs, for the next that opens them.
    """

    def __init__(self) -> None:
        self.arguments: tuple[str, ...] = NO_LOGGER
        """The arguments of ``ctr run`` for these streams."""
        self.bytes_read = 0
        """Of both streams, once they are drained."""
        self._relays: list[Relay] = []
        self._unfed: list[Writer] = []
        self._opened: list[BinaryIO] = []
        self._sources: list[int] = []
        self._lock: int | None = None
        self._attached: Path | None = None
        self._started = False
        self._stop_by = 0.0

    @classmethod
    def create(cls, files: PluginFiles, stdout: Sink, stderr: Sink) -> Streams:
        """Make the FIFOs of a plugin that is about to start, and open our ends of them.

        Raises ``InvalidArgument`` for a sink that is neither a writer, a path nor ``None``, or a path that cannot be
        appended to.
        """
        if isinstance(stdout, JsonFile) or isinstance(stderr, JsonFile):
            streams = cls()
            streams.arguments = prepare_json(files, stdout, stderr)
            return streams
        redirections = [prepare(files.stdout, stdout), prepare(files.stderr, stderr)]
        streams = cls.open(files, stdout, stderr)
        if stdout is not None or stderr is not None:
            lock = files.attached if streams._relays else None
            streams.arguments = logger_arguments(
                redirections[0], redirections[1], lock, files.config, (files.pid, files.first)
            )
        return streams

    @classmethod
    def open(cls, files: PluginFiles, stdout: Sink, stderr: Sink) -> Streams:
        """Open the FIFOs that are there, read ends first, then take the lock.

        A writer gets nothing where the plugin was created with something else: there is no FIFO then.
        """
        streams = cls()
        try:
            for fifo, sink in zip((files.stdout, files.stderr), share(stdout, stderr), strict=True):
                streams._feed(f"{files.id}-{fifo.name}", fifo, sink)
            if streams._relays:
                streams._lock, streams._attached = files.attach(), files.attached
        except BaseException:
            streams.discard()
            raise
        return streams

    @classmethod
    def attach(cls, id: str, init: int, stdout: Sink, stderr: Sink) -> Streams:
        """Open the FIFOs of a plugin that something else created and that runs; ``init`` is the pid of its process.

        A writer gets nothing where the plugin's stream is no FIFO.
        """
        streams = cls()
        try:
            for name, fifo, sink in zip(STREAMS, find_fifos(id, init), share(stdout, stderr), strict=True):
                if fifo is None and sink is not None:
                    log.warning("%s of %s goes elsewhere and cannot be relayed: it is no FIFO", name, id)
                streams._feed(f"{id}-{name}", fifo, sink)
        except BaseException:
            streams.discard()
            raise
        return streams

    def _feed(self, name: str, fifo: Path | None, sink: Sink) -> None:
        """Make a relay from a FIFO, if that is there, to a sink."""
        source = _open_fifo(fifo) if fifo else None
        if source is not None:
            self._relay(name, source, sink)
        elif is_writer(sink):
            self._unfed.append(sink)

    def _relay(self, name: str, source: int, sink: Sink) -> None:
        """Make a relay; the bytes pass through us even if the sink is a path. ``source`` is closed on a failure."""
        try:
            if isinstance(sink, JsonFile):
                raise InvalidArgument("a JsonFile can only be given to create", hint="give a writer, a path or None")
            if isinstance(sink, (str, os.PathLike)):
                sink = open_file(sink)
                self._opened.append(sink)
            self._relays.append(Relay(name, source, sink))
            self._sources.append(source)
        except OSError as error:
            os.close(source)
            raise file_error(error, f"relay of {name} cannot be made") from error
        except BaseException:
            os.close(source)
            raise

    def widen(self, init: int) -> None:
        """Let the pipes from a plugin to its logger, which the shim makes, hold more; ``init`` is its process's pid."""
        if self.arguments == NO_LOGGER:
            return
        for number in (1, 2):
            path = f"/proc/{init}/fd/{number}"
            with contextlib.suppress(OSError):  # it has ended
                # Where it has put something else, even to open that might do something.
                if stat.S_ISFIFO(os.stat(path).st_mode):
                    pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                    try:
                        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
                    finally:
                        os.close(pipe)

    def start(self) -> None:
        """Start the relays: all, or none and ``Unavailable`` when out of threads."""
        try:
            for relay in self._relays:
                relay.prepare()
        except RuntimeError as error:
            raise Unavailable(f"cannot relay its streams: out of threads: {error}") from error
        self._started = True
        for relay in self._relays:
            relay.start()

    def drain(self) -> bool:
        """Wait for the end of both streams, after the task was deleted; then give everything back.

        The end comes when the last process that holds the plugin's pipe is gone. One outside its pid namespace may
        hold it for ever: then, after ``DRAIN_IDLE`` seconds without a byte, the rest is given up, with a warning.
        Returns whether the end of both came.
        """
        self._nudge()
        since = time.monotonic()
        unended = [relay for relay in self._relays if not relay.join(since + DRAIN_TOTAL, since=since, idle=DRAIN_IDLE)]
        self.bytes_read = sum(relay.bytes_read for relay in self._relays)
        for relay in unended:
            log.warning(
                "%s: gave up waiting for end of file (another process holds the pipe, or the writer blocks)", relay.name
            )
        if self._attached:
            # Before the lock is released: so the logger knows that nothing is left to be read.
            with contextlib.suppress(OSError):
                self._attached.unlink()
        self.stop()
        return not unended

    def halt(self) -> None:
        """Ask the relays to end where they are, and do not wait: ``stop`` must follow. May be called again."""
        if not self._started or self._stop_by:
            return
        self._stop_by = time.monotonic() + STOP_TIMEOUT
        # The lock first: a logger that ends from now on keeps open what we no longer read.
        self._unlock()
        for relay in self._relays:
            relay.stop()

    def stop(self) -> None:
        """Stop the relays where they are, close the writers, release the lock; what was not read stays readable.

        A writer that has not returned ``STOP_TIMEOUT`` seconds later keeps its thread, and is closed when it returns.
        May be called again, and then does nothing.
        """
        if not self._started:
            self.discard()
            return
        self.halt()
        relays, self._relays = self._relays, []
        self._sources.clear()
        for relay in relays:
            if not relay.join(self._stop_by):
                log.warning("writer of %s blocks; its thread is left behind", relay.name)
            relay.dispose()
        while self._unfed:
            close_writer(self._unfed.pop(), "a stream that is not relayed")

    def abandon(self) -> None:
        """Close the writers without a byte relayed: the plugin never started, and only its runtime complained."""
        for relay in self._relays:
            relay.stop()
        self.start()
        self.stop()

    def discard(self) -> None:
        """Release everything without a byte relayed or a writer closed: the plugin did not start."""
        for relay in self._relays:
            relay.dispose()
        for file in self._opened:
            file.close()
        self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            release_lock(lock)

    def _nudge(self) -> None:
        """Open and close the write ends: one that was never open for writing never shows its end."""
        for source in self._sources:
            # Not by its name: that may be gone, or be another one's.
            with contextlib.suppress(OSError):
                os.close(os.open(f"/proc/self/fd/{source}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def _open_fifo(path: Path) -> int | None:
    """Open a FIFO for reading without waiting for a writer; ``None`` if there is no FIFO."""
    try:
        if not stat.S_ISFIFO(path.stat().st_mode):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(error, f"FIFO {str(path)!r} cannot be opened") from error
    with contextlib.suppress(OSError):  # above the user's limit for pipes: slower, but right
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return descriptor
