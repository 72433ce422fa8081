"""The bundle of a plugin, as ``docker plugin create`` takes it: ``config.json`` and ``rootfs/``, or a tar of both.

Both come into a directory by the same way, entry by entry, with owners, modes, times, links, devices and file
capabilities. Each entry is put where a process that has the bundle for its root would put it: no link of the bundle
leads out of it, whether it is absolute or has too many ``..``.
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
from pluginexec.managed.config import load_config
from pluginexec.root import file_error

CONFIG = "config.json"
ROOTFS = "rootfs"

_CAPABILITY = "security.capability"
_IN_TAR = f"SCHILY.xattr.{_CAPABILITY}"
_MOST_LINKS = 40
_BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError)
_Entry = tuple[tarfile.TarInfo, "IO[bytes] | None", bytes]
"""An entry, what is in it, and its file capabilities."""
_Entries = Generator[_Entry, None, None]


def bundle_path(source: str | os.PathLike[str]) -> Path:
    """Return where a bundle is, also when the working directory changes; ``InvalidArgument`` for what is no path."""
    if not isinstance(source, (str, os.PathLike)) or not source or isinstance(os.fspath(source), bytes):
        raise InvalidArgument(f"plugin {shown(source)} is not the path of a directory or a tar")
    return Path(os.path.abspath(source))


def unpack(source: str | os.PathLike[str], directory: Path) -> Path:
    """Copy a bundle, or extract a tar of one (compressed by gzip, bzip2, xz or not at all); return ``directory``.

    ``directory`` must not be there yet, or be empty; it appears whole or not at all. What is in the source beside
    ``config.json`` and ``rootfs/`` is left out, as docker does. Raises ``InvalidArgument`` for what is no bundle or
    has a wrong configuration, ``AlreadyExists`` for a directory that is not empty, and as files are refused.
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
    entries = _of_directory(origin) if origin.is_dir() else _of_tar(origin)
    (new / ROOTFS).mkdir(mode=0o755)
    target = _Target(new)
    try:
        with contextlib.closing(entries):
            for info, content, capability in entries:
                target.add(info, content, capability)
    except _BROKEN as error:
        raise InvalidArgument(f"{name} is neither a directory nor a complete tar: {error}") from error
    target.finish()
    if not (new / CONFIG).is_file():
        raise InvalidArgument(f"{name} has no {CONFIG} at its top", hint=f"put {CONFIG} and {ROOTFS}/ there")
    try:
        load_config(new / CONFIG)
    except InvalidArgument as error:  # of a file that is gone in a moment
        error.message = error.message.replace(str(new), str(origin))
        raise
    if not target.has_rootfs:
        raise InvalidArgument(f"{name} has no {ROOTFS}/ at its top", hint=f"put {CONFIG} and {ROOTFS}/ there")


def _of_tar(origin: Path) -> _Entries:
    with tarfile.open(origin, "r:*") as tar:
        for info in tar:
            value = info.pax_headers.get(_IN_TAR, "")
            yield info, tar.extractfile(info) if info.isreg() else None, value.encode(errors="surrogateescape")


def _of_directory(origin: Path) -> _Entries:
    """Give the entries of a tar of a directory, without making one."""
    with tarfile.open(os.devnull, "w") as tar:
        yield from _of_file(tar, origin / CONFIG, CONFIG, follow=True)
        if (origin / ROOTFS).is_dir():
            yield from _of_file(tar, origin / ROOTFS, ROOTFS, follow=True)
            yield from _below(tar, origin / ROOTFS, ROOTFS)


def _below(tar: tarfile.TarFile, directory: Path, name: str) -> _Entries:
    with os.scandir(directory) as found:
        items = sorted(found, key=lambda item: item.name)
    for item in items:
        inner = f"{name}/{item.name}"
        yield from _of_file(tar, directory / item.name, inner)
        if item.is_dir(follow_symlinks=False):
            yield from _below(tar, directory / item.name, inner)


def _of_file(tar: tarfile.TarFile, path: Path, name: str, *, follow: bool = False) -> _Entries:
    real = path.resolve() if follow else path
    info = tar.gettarinfo(real, name) if real.exists() or real.is_symlink() else None
    if info is None:  # a socket
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
    """The directory that entries are put into; nobody else uses it meanwhile."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.has_rootfs = False
        self._times: dict[Path, float] = {}

    def add(self, info: tarfile.TarInfo, content: IO[bytes] | None, capability: bytes) -> None:
        """Put one entry in its place."""
        parts = _parts(info.name)
        if parts == [CONFIG] and content is not None:
            (self._root / CONFIG).write_bytes(content.read())
        elif parts[:1] == [ROOTFS]:
            self.has_rootfs = self.has_rootfs or info.isdir() or len(parts) > 1
            self._put(self._place(parts), info, content, capability)

    def finish(self) -> None:
        """Give the directories their times, now that nothing comes into them any more."""
        for path, time in self._times.items():
            with contextlib.suppress(OSError):  # a later entry has taken its place
                os.utime(path, (time, time), follow_symlinks=False)

    def _place(self, parts: list[str]) -> Path:
        """Return the path of an entry: its parent is a real directory of ours, whatever links lead there."""
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
        if info.islnk():  # the attributes are those of the file
            return
        os.chown(path, info.uid, info.gid, follow_symlinks=False)
        if not info.issym():
            os.chmod(path, info.mode & 0o7777)  # after chown, which takes setuid away
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
            kind = stat.S_IFCHR if info.ischr() else stat.S_IFBLK
            os.mknod(path, kind | 0o600, os.makedev(info.devmajor, info.devminor))
        else:
            raise InvalidArgument(f"entry {shown(info.name)} is of an unknown type")

    def _link(self, info: tarfile.TarInfo, path: Path) -> None:
        parts = _parts(info.linkname)
        target = self._place(parts if parts[:1] == [ROOTFS] else [ROOTFS, *parts])
        if not target.is_symlink() and (target.is_dir() or not target.exists()):
            problem = f"is a hard link to {shown(info.linkname)}, which is not an earlier file of the tar"
            raise InvalidArgument(f"entry {shown(info.name)} {problem}")
        os.link(target, path, follow_symlinks=False)


def _parts(name: str) -> list[str]:
    """Split a name; what leads out at the top leads to the top."""
    return [part for part in os.path.normpath(f"/{name}").split("/") if part]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
