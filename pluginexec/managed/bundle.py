"""The bundle of a plugin, as ``docker plugin create`` takes it: ``config.json`` and ``rootfs/``, or a tar of both.

Both are copied the same way, entry by entry, with owners, modes, times, links, devices and file capabilities. The path
of an entry is resolved as by a process whose root directory is the bundle: no link leads out of it, whether it is
absolute or has too many ``..``.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import os
import secrets
import shutil
import stat
import tarfile
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import IO

from pluginexec.errors import AlreadyExists, InvalidArgument, shown
from pluginexec.linux.files import file_error
from pluginexec.managed.config import load_config

CONFIG = "config.json"
ROOTFS = "rootfs"

_CAPABILITY = "security.capability"
_IN_TAR = f"SCHILY.xattr.{_CAPABILITY}"
_MOST_LINKS = 40
_BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError)
_Entry = tuple[tarfile.TarInfo, "IO[bytes] | None", bytes]
"""An entry, its content, and its file capabilities."""
_Entries = Generator[_Entry, None, None]


def bundle_path(source: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a bundle; raise ``InvalidArgument`` for what is not a path."""
    if not isinstance(source, (str, os.PathLike)) or not source or isinstance(os.fspath(source), bytes):
        raise InvalidArgument(f"plugin {shown(source)} is not the path of a directory or a tar")
    return Path(os.path.abspath(source))


def unpack(source: str | os.PathLike[str], directory: Path) -> Path:
    """Copy a bundle, or extract a tar of one (compressed by gzip, bzip2, xz or not at all); return ``directory``.

    ``directory`` must not exist, or be empty; it appears complete or not at all. Only ``config.json`` and ``rootfs/``
    are copied, as docker does. Raises ``InvalidArgument`` for what is not a bundle or has an invalid configuration,
    ``AlreadyExists`` for a directory that is not empty, and what ``file_error`` returns for other failures.
    """
    origin = bundle_path(source)
    new = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    try:
        new.mkdir(mode=0o700, parents=True)
        try:
            _fill(origin, new)
            os.rename(new, directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and error.filename2 == str(directory):
            raise AlreadyExists(f"{str(directory)!r} already exists and is not an empty directory") from error
        if str(error.filename) == str(origin):
            raise InvalidArgument(f"plugin {str(origin)!r}: {(error.strerror or str(error)).lower()}") from error
        raise file_error(error, f"plugin {str(origin)!r} cannot be unpacked to {str(directory)!r}") from error
    return directory


def _fill(origin: Path, new: Path) -> None:
    name = f"plugin {str(origin)!r}"
    entries = _directory_entries(origin) if origin.is_dir() else _tar_entries(origin)
    (new / ROOTFS).mkdir(mode=0o755)
    target = _Target(new)
    try:
        with contextlib.closing(entries):
            for info, content, capability in entries:
                target.add(info, content, capability)
    except _BROKEN as error:
        raise InvalidArgument(f"{name} is neither a directory nor a valid tar: {error}") from error
    target.finish()
    if not (new / CONFIG).is_file():
        raise InvalidArgument(f"{name} has no {CONFIG} at its top", hint=f"put {CONFIG} and {ROOTFS}/ there")
    try:
        load_config(new / CONFIG)
    except InvalidArgument as error:  # name the file of the user, not the copy, which is removed
        error.message = error.message.replace(str(new), str(origin))
        raise
    if not target.has_rootfs:
        raise InvalidArgument(f"{name} has no {ROOTFS}/ at its top", hint=f"put {CONFIG} and {ROOTFS}/ there")


def _tar_entries(origin: Path) -> _Entries:
    with tarfile.open(origin, "r:*") as tar:
        for info in tar:
            value = info.pax_headers.get(_IN_TAR, "")
            yield info, tar.extractfile(info) if info.isreg() else None, value.encode(errors="surrogateescape")


def _directory_entries(origin: Path) -> _Entries:
    """Yield the entries that a tar of the directory would have, without writing one."""
    with tarfile.open(os.devnull, "w") as tar:
        yield from _file_entry(tar, origin / CONFIG, CONFIG, follow=True)
        if (origin / ROOTFS).is_dir():
            yield from _file_entry(tar, origin / ROOTFS, ROOTFS, follow=True)
            yield from _entries_below(tar, origin / ROOTFS, ROOTFS)


def _entries_below(tar: tarfile.TarFile, directory: Path, name: str) -> _Entries:
    with os.scandir(directory) as iterator:
        items = sorted(iterator, key=lambda item: item.name)
    for item in items:
        inner = f"{name}/{item.name}"
        yield from _file_entry(tar, directory / item.name, inner)
        if item.is_dir(follow_symlinks=False):
            yield from _entries_below(tar, directory / item.name, inner)


def _file_entry(tar: tarfile.TarFile, path: Path, name: str, *, follow: bool = False) -> _Entries:
    real = path.resolve() if follow else path
    info = tar.gettarinfo(real, name) if real.exists() or real.is_symlink() else None
    if info is None:  # a socket, which a tar cannot hold
        return
    capability = b""
    if info.isreg():
        with contextlib.suppress(OSError):
            capability = os.getxattr(real, _CAPABILITY)
        with real.open("rb") as content:
            yield info, content, capability
    else:
        yield info, None, capability


class _Target:
    """The directory that entries are extracted to; no other process uses it meanwhile."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.has_rootfs = False
        self._times: dict[Path, float] = {}

    def add(self, info: tarfile.TarInfo, content: IO[bytes] | None, capability: bytes) -> None:
        """Extract one entry."""
        parts = _parts(info.name)
        if parts == [CONFIG] and content is not None:
            (self._root / CONFIG).write_bytes(content.read())
        elif parts[:1] == [ROOTFS]:
            self.has_rootfs = self.has_rootfs or info.isdir() or len(parts) > 1
            self._put(self._resolve(parts), info, content, capability)

    def finish(self) -> None:
        """Set the times of the directories, after all their entries were created."""
        for path, time in self._times.items():
            with contextlib.suppress(OSError):  # a later entry has replaced it
                os.utime(path, (time, time), follow_symlinks=False)

    def _resolve(self, parts: list[str]) -> Path:
        """Return the path of an entry; its parent is a real directory below the root, whatever links lead there."""
        base = self._root / ROOTFS
        if len(parts) < 2:
            return base
        todo, done, links = parts[1:-1][::-1], list[str](), 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            path = base.joinpath(*done, part)
            if path.is_symlink():
                links += 1
                if links > _MOST_LINKS:
                    raise InvalidArgument(f"entry {shown('/'.join(parts))} is behind a loop of symbolic links")
                to = os.readlink(path)
                done = [] if to.startswith("/") else done
                todo += to.split("/")[::-1]
                continue
            if not path.exists():
                path.mkdir(mode=0o755)
            elif not path.is_dir():
                raise InvalidArgument(f"entry {shown('/'.join(parts))} is below a file")
            done.append(part)
        return base.joinpath(*done, parts[-1])

    def _put(self, path: Path, info: tarfile.TarInfo, content: IO[bytes] | None, capability: bytes) -> None:
        if not (info.isdir() and path.is_dir() and not path.is_symlink()):
            _remove(path)
            self._make(path, info, content)
        if info.islnk():  # it shares the attributes of its target
            return
        os.chown(path, info.uid, info.gid, follow_symlinks=False)
        if not info.issym():
            os.chmod(path, info.mode & 0o7777)  # after chown, which clears setuid
        if capability:
            os.setxattr(path, _CAPABILITY, capability)
        if info.isdir():
            self._times[path] = info.mtime
        else:
            os.utime(path, (info.mtime, info.mtime), follow_symlinks=False)

    def _make(self, path: Path, info: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        if info.isdir():
            path.mkdir()
        elif content is not None:
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
        elif info.issym():
            path.symlink_to(info.linkname)
        elif info.islnk():
            self._link(info, path)
        elif info.isfifo():
            os.mkfifo(path)
        elif info.ischr() or info.isblk():
            type = stat.S_IFCHR if info.ischr() else stat.S_IFBLK
            os.mknod(path, type | 0o600, os.makedev(info.devmajor, info.devminor))
        else:
            raise InvalidArgument(f"entry {shown(info.name)} is of an unknown type")

    def _link(self, info: tarfile.TarInfo, path: Path) -> None:
        parts = _parts(info.linkname)
        target = self._resolve(parts if parts[:1] == [ROOTFS] else [ROOTFS, *parts])
        if not target.is_symlink() and (target.is_dir() or not target.exists()):
            problem = f"is a hard link to {shown(info.linkname)}, which is not an earlier file of the tar"
            raise InvalidArgument(f"entry {shown(info.name)} {problem}")
        os.link(target, path, follow_symlinks=False)


def _parts(name: str) -> list[str]:
    """Split a path; ``..`` at the top stays at the top."""
    return [part for part in os.path.normpath(f"/{name}").split("/") if part]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
