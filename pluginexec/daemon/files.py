"""The files of a private containerd: where they are, what is in them, and the lock that makes them ours."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from pluginexec.daemon import launcher
from pluginexec.errors import FailedPrecondition, InvalidArgument, Unavailable
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import file_error, open_plain, write_plain
from pluginexec.linux.identity import is_ours, listener, program_name
from pluginexec.linux.locks import release_lock, take_lock_in
from pluginexec.root.layout import absolute

LONGEST_ADDRESS = 98
"""Bytes in the path of the socket. containerd (1.6.20, 1.7.24, 2.1.9) refuses to listen on a path over 104 bytes, and
it listens on ``ADDRESS.ttrpc`` too."""

DIRECTORY = "directory"
_LOG_KEPT = 500
# What a plugin runner never needs, under its names in 1.x and 2.x; a name that is not there is ignored. CRI; NRI and
# opt, whose socket and directory (/opt/containerd) would be outside ours; what polls; what reads OTEL_* variables.
# It also makes the start 2 to 6 ms faster, of 25 to 35.
_DISABLED = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.podsandbox.controller.v1.podsandbox",
    "io.containerd.grpc.v1.sandbox-controllers",
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.monitor.container.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "blockfile", "btrfs", "devmapper", "erofs", "zfs")),
)


class Taken(FailedPrecondition):
    """The directory has another supervisor: one for its life, or one that starts containerd and leaves it."""


class DaemonFiles:
    """The paths under ``directory``, and under ``state`` if that is another; nothing is made before ``taken``."""

    def __init__(self, directory: str | os.PathLike[str], state: str | os.PathLike[str] | None = None) -> None:
        given = absolute(directory, DIRECTORY)
        self._given = (given, given if state is None else absolute(state, DIRECTORY))
        # Resolved, so that one directory has one address, and one name in its containerd's command line.
        self.directory, self.runtime = (Path(os.path.realpath(each)) for each in self._given)
        self.log = self.directory / "containerd.log"
        self.root = self.directory / "root"
        self.config = self.runtime / "config.toml"
        self.pid = self.runtime / "containerd.pid"
        self.state = self.runtime / "state"
        self.lock = self.runtime / "lock"
        self.tasks = self.state / "io.containerd.runtime.v2.task"
        """The bundles of what it runs, in a directory for each namespace."""
        self.address = _address(str(self.runtime))
        length = len(self.address.encode())
        if length > LONGEST_ADDRESS:
            raise InvalidArgument(
                f"the path of the socket, {self.address!r}, has {length} bytes; at most {LONGEST_ADDRESS} work",
                hint="choose a directory with a shorter path, such as one under /run",
            )

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Make the directories and the configuration, and hold the lock; ``Taken`` if another process does."""
        try:
            lock = take_lock_in(self._make, self.lock)
        except OSError as error:
            raise file_error(error, f"directory {str(self.runtime)!r} cannot be used") from error
        if lock is None:
            raise Taken(
                f"directory {str(self.runtime)!r} has another supervisor",
                hint="stop that one first, or give this one another directory",
            )
        try:
            self._write()
            yield
        finally:
            release_lock(lock)

    def _make(self) -> None:
        for each in self._given:
            make_directory(each)

    def processes(self) -> Iterator[int]:
        """Find the pids of the containerd that runs on these files, started by any process.

        First the one that answers on the socket; then any that does not, or not yet. The pid file is not asked: who
        started it may have been killed before that was written. Raises ``Unavailable`` where that cannot be found out.
        """
        answering = listener(self.address)
        if answering is not None and self.are_of(answering):
            yield answering
        yield from (pid for pid in psutil.pids() if pid != answering and self.are_of(pid))

    def are_of(self, pid: int) -> bool:
        """Return whether a process is this root's containerd, that runs on these files, or is about to be one."""
        try:
            line = psutil.Process(pid).cmdline()
        except psutil.Error:
            return False
        except OSError as error:
            raise Unavailable(f"process {pid} cannot be looked at: {error.strerror}") from error
        if line[-2:] != ["--config", str(self.config)] or not is_ours(pid):
            return False
        return "containerd" in program_name(pid) or launcher.__file__ in line

    def write_pid(self, pid: int) -> None:
        """Write the pid, for people; it is not trusted here."""
        try:
            write_plain(self.pid, f"{pid}\n")
        except OSError as error:
            raise file_error(error, f"{str(self.pid)!r} cannot be written") from error

    def remove(self) -> None:
        """Remove what names a running containerd."""
        for path in (Path(self.address), Path(f"{self.address}.ttrpc"), self.pid):
            with contextlib.suppress(OSError):
                path.unlink()
        parent = Path(self.address).parent
        if parent != self.runtime:
            with contextlib.suppress(OSError):
                parent.rmdir()

    def log_size(self) -> int:
        """Return the size of the log."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0

    def log_end(self, start: int) -> str:
        """Return the last line of the log behind ``start``, as part of a message."""
        try:
            with open(open_plain(self.log), "rb") as file:
                file.seek(max(start, self.log_size() - 8 * _LOG_KEPT))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError as error:
            return f"its log cannot be read: {error.strerror}"
        return f"its log ends with: {lines[-1][-_LOG_KEPT:]}" if lines else "its log says nothing"

    def toml(self) -> str:
        """Return the configuration; version 2 is read by 1.x and 2.x."""
        return (
            f"version = 2\n"
            f"root = {_quote(str(self.root))}\n"
            f"state = {_quote(str(self.state))}\n"
            f"disabled_plugins = {json.dumps(_DISABLED)}\n"
            f"[grpc]\n"
            f"address = {_quote(self.address)}\n"
        )

    def _write(self) -> None:
        try:
            parent = Path(self.address).parent
            if parent != self.runtime:
                make_directory(parent)
            write_plain(self.config, self.toml())
        except OSError as error:
            raise file_error(error, f"{error.filename!r} cannot be made") from error


def _address(directory: str) -> str:
    # ctr 1.7 and later percent-decode the path, cut it at "?" and "#", and refuse control characters; 1.6 takes it as
    # it is, and 2.1 also stats it as it is. So no escaping suits all of them, but another path does.
    if directory.isprintable() and not set("%?#") & set(directory):
        return str(Path(directory) / "containerd.sock")
    import hashlib  # only here: it loads OpenSSL, and a path is seldom like this

    digest = hashlib.sha256(directory.encode()).hexdigest()[:16]
    return f"/run/pluginexec-{digest}/containerd.sock"


def _quote(text: str) -> str:
    # A basic string of TOML is one of JSON, but for DEL, and for surrogate pairs, which ensure_ascii would make.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
