"""The entries that a tar of a directory would have. Each file is opened first and then looked at, without its path."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Generator, Iterator

from pluginexec.errors import InvalidArgument, shown
from pluginexec.managed.archive.bounds import MOST_ENTRIES, Bounds
from pluginexec.managed.archive.entry import CHUNK, Entry
from pluginexec.managed.archive.walk import Walker

CAPABILITY = "security.capability"
# A link is not followed, and a FIFO is not waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 512


def directory_entries(top: int, path: str, names: tuple[str, ...], bounds: Bounds) -> Generator[Entry, None, None]:
    """Yield the files at the top of a directory that have these names, and what is below them.

    ``top`` is its descriptor, ``path`` its real path. A link at the top is followed within the directory.
    Raises ``InvalidArgument`` for one that leads out, and for what another process replaces meanwhile.
    """
    with contextlib.closing(Walker(os.dup(top), bounds, path)) as walker:
        for name in names:
            try:
                place, real = walker.find([name], name, follow=True)
                parent = walker.go(place)
                status = os.stat(real, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                continue
            with _replaced(name):
                yield from _Files(walker).entries([*place, real], name, status)


class _Files:
    """Makes the entries; a file with several names is one whose later names are hard links."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self._known: dict[tuple[int, int], str] = {}

    def entries(self, place: list[str], name: str, status: os.stat_result) -> Iterator[Entry]:
        """Yield the entry of a file, and those below it; ``place`` is its path, and ``name`` what it is called."""
        yield from self._entry(self._walker.go(place[:-1]), place[-1], name, status)
        pending = [(place, name)] if stat.S_ISDIR(status.st_mode) else []
        while pending:
            place, name = pending.pop()
            directory = self._walker.go(place)
            with os.scandir(directory) as iterator:
                listed = sorted(entry.name for entry in itertools.islice(iterator, MOST_ENTRIES + 1))
            inner = []
            for each in listed:
                status = os.stat(each, dir_fd=directory, follow_symlinks=False)
                yield from self._entry(directory, each, f"{name}/{each}", status)
                if stat.S_ISDIR(status.st_mode):
                    inner.append(([*place, each], f"{name}/{each}"))
            pending += reversed(inner)

    def _entry(self, parent: int, file: str, name: str, status: os.stat_result) -> Iterator[Entry]:
        if stat.S_ISSOCK(status.st_mode):  # which a tar cannot hold
            return
        if not stat.S_ISREG(status.st_mode):
            link = os.readlink(file, dir_fd=parent) if stat.S_ISLNK(status.st_mode) else ""
            yield _described(name, status, link=link)
            return
        descriptor = os.open(file, _FILE, dir_fd=parent)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            first = self._known.setdefault((status.st_dev, status.st_ino), name) if status.st_nlink > 1 else name
            if first != name:
                yield _described(name, status, link=first, is_hard_link=True)
            else:
                yield _content(name, status, descriptor)
        finally:
            os.close(descriptor)


def _described(name: str, status: os.stat_result, *, link: str = "", is_hard_link: bool = False) -> Entry:
    device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return Entry(
        name,
        tuple(name.split("/")),
        stat.S_IFMT(status.st_mode) if not is_hard_link else 0,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        link=link,
        is_hard_link=is_hard_link,
        device=device,
    )


def _content(name: str, status: os.stat_result, descriptor: int) -> Entry:
    capability = b""
    with contextlib.suppress(OSError):
        capability = os.getxattr(descriptor, CAPABILITY)
    return Entry(
        name,
        tuple(name.split("/")),
        stat.S_IFREG,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        size=status.st_size,
        stored=min(status.st_size, status.st_blocks * _BLOCK),
        data=_data(descriptor, status.st_size),
        capability=capability,
    )


def _data(descriptor: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield what is not a hole, of the size that the file had; it may grow without end."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = min(os.lseek(descriptor, offset, os.SEEK_HOLE), size)
        while offset < end:
            data = os.pread(descriptor, min(end - offset, CHUNK), offset)
            if not data:
                return
            yield offset, data
            offset += len(data)


@contextlib.contextmanager
def _replaced(name: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidArgument(f"{shown(name)} was changed while it was copied") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InvalidArgument(f"{shown(name)} was changed while it was copied") from error
