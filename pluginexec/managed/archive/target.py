"""The directory that a bundle is unpacked to. Only this process writes in it, so only entries can put links there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from pluginexec.errors import InvalidArgument, shown
from pluginexec.managed.archive.bounds import Bounds
from pluginexec.managed.archive.directory import CAPABILITY
from pluginexec.managed.archive.entry import Entry, path_parts
from pluginexec.managed.archive.walk import Walker

CONFIG = "config.json"
ROOTFS = "rootfs"
MOST_CONFIG = 16 << 20
"""Bytes of the largest ``config.json``."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MADE = 0o755


class Target:
    """Writes entries: ``config.json``, ``rootfs`` and what is in it; others are ignored, as docker does."""

    def __init__(self, top: int, bounds: Bounds) -> None:
        """``top`` is the descriptor of an empty directory."""
        self._top = top
        self._bounds = bounds
        os.mkdir(ROOTFS, 0o700, dir_fd=top)
        rootfs = os.open(ROOTFS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        os.fchmod(rootfs, _MADE)
        self._walker = Walker(rootfs, bounds)
        self._times: dict[tuple[str, ...], int] = {}
        self.has_config = False
        self.has_rootfs = False

    def close(self) -> None:
        """Close all descriptors but the top."""
        self._walker.close()

    def add(self, entry: Entry) -> None:
        """Write an entry."""
        first = entry.parts[:1]
        self._bounds.add(entry.name, entry.stored if first in ((CONFIG,), (ROOTFS,)) else 0)
        if first == (CONFIG,):
            self._write_config(entry)
        elif first == (ROOTFS,):
            self.has_rootfs = True
            if len(entry.parts) == 1:
                self._describe_rootfs(entry)
            else:
                self._write(entry)

    def finish(self) -> None:
        """Set the times of the directories, after all their entries were made."""
        for path in sorted(self._times):
            with contextlib.suppress(OSError):  # a later entry has replaced it
                _set_time(self._walker.go(path), self._times[path])

    def _write_config(self, entry: Entry) -> None:
        if len(entry.parts) > 1 or entry.type != stat.S_IFREG:
            raise InvalidArgument(f"entry {shown(entry.name)} must be a regular file")
        if entry.size > MOST_CONFIG:
            raise InvalidArgument(f"{CONFIG} has more than {MOST_CONFIG >> 20} MiB")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(CONFIG, dir_fd=self._top)
        os.close(self._new_file(self._top, CONFIG, entry))
        self.has_config = True

    def _describe_rootfs(self, entry: Entry) -> None:
        if entry.type != stat.S_IFDIR:
            raise InvalidArgument(f"entry {shown(entry.name)} must be a directory")
        self._describe((), entry)

    def _write(self, entry: Entry) -> None:
        path, name = self._walker.find(entry.parts[1:], entry.name, make=True)
        depth = len(path)
        if entry.is_hard_link:
            self._link(entry, path, name)
            return
        parent = self._walker.descriptor(depth)
        if entry.type != stat.S_IFDIR:
            self._remove(depth, name, entry)
            self._make(parent, name, entry)
            return
        if not _is_directory(parent, name):
            self._remove(depth, name, entry)
            os.mkdir(name, 0o700, dir_fd=parent)
        self._walker.enter(depth, name)
        self._describe((*path, name), entry)

    def _describe(self, path: tuple[str, ...], entry: Entry) -> None:
        directory = self._walker.descriptor(len(path))
        os.fchown(directory, entry.uid, entry.gid)
        os.fchmod(directory, entry.mode)
        self._times[path] = entry.mtime

    def _remove(self, depth: int, name: str, entry: Entry) -> None:
        """Remove what an earlier entry has made; a directory only if it is empty, as tar does."""
        self._walker.cut(depth)
        parent = self._walker.descriptor(depth)
        try:
            (os.rmdir if _is_directory(parent, name) else os.unlink)(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            problem = "is to replace a directory that is not empty"
            raise InvalidArgument(f"entry {shown(entry.name)} {problem}") from error

    def _make(self, parent: int, name: str, entry: Entry) -> None:
        if entry.type == stat.S_IFREG:
            file = self._new_file(parent, name, entry)
            try:
                os.fchown(file, entry.uid, entry.gid)
                os.fchmod(file, entry.mode)  # after chown, which clears setuid
                if entry.capability:
                    os.setxattr(file, CAPABILITY, entry.capability)
                _set_time(file, entry.mtime)
            finally:
                os.close(file)
            return
        if entry.type == stat.S_IFLNK:
            os.symlink(entry.link, name, dir_fd=parent)
        elif entry.type in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(name, entry.type | 0o600, os.makedev(*entry.device), dir_fd=parent)
        else:
            raise InvalidArgument(f"entry {shown(entry.name)} is of an unknown type")
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.type != stat.S_IFLNK:
            os.chmod(name, entry.mode, dir_fd=parent)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _new_file(self, parent: int, name: str, entry: Entry) -> int:
        """Make a file, and return it open; holes stay holes."""
        file = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            for offset, data in entry.data:
                self._bounds.reserve(entry.name, len(data))
                while data:
                    written = os.pwrite(file, data, offset)
                    offset, data = offset + written, data[written:]
            os.ftruncate(file, entry.size)
        except BaseException:
            os.close(file)
            raise
        return file

    def _link(self, entry: Entry, path: list[str], name: str) -> None:
        """Make a hard link to a file of the bundle, which the walker finds as it does any other."""
        parts = path_parts(entry.link)
        parts = parts[1:] if parts[:1] == (ROOTFS,) else parts
        problem = f"is a hard link to {shown(entry.link)}, which is not an earlier file of the tar"
        refused = InvalidArgument(f"entry {shown(entry.name)} {problem}")
        parent = os.dup(self._walker.descriptor(len(path)))
        try:
            self._remove(len(path), name, entry)
            if not parts:
                raise refused
            where, old = self._walker.find(parts, entry.name)
            source = self._walker.descriptor(len(where))
            if _is_directory(source, old):
                raise refused
            os.link(old, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise refused from None
        finally:
            os.close(parent)


def _is_directory(parent: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _set_time(file: int, time: int) -> None:
    os.utime(file, ns=(time, time))
