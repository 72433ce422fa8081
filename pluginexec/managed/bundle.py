"""The bundle of a plugin, as ``docker plugin create`` takes it: ``config.json`` and ``rootfs/``, or a tar of both.

Both are copied the same way, entry by entry, with owners, modes, times, links, devices and file capabilities. The path
of an entry is resolved as by a process whose root directory is ``rootfs``: no link leads out of it, whether it is
absolute or has too many ``..``. What a bundle may cost is in ``archive/bounds.py``.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import os
import secrets
import stat
import tarfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path

from pluginexec.errors import AlreadyExists, InvalidArgument, PluginExecError, shown
from pluginexec.linux import trees
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import file_error
from pluginexec.managed.archive.bounds import Bounds
from pluginexec.managed.archive.directory import directory_entries
from pluginexec.managed.archive.entry import Entry
from pluginexec.managed.archive.tar import tar_entries
from pluginexec.managed.archive.target import CONFIG, ROOTFS, Target
from pluginexec.managed.archive.walk import Walker
from pluginexec.managed.config import load_config

_BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError, RecursionError)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def bundle_path(source: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a bundle; raise ``InvalidArgument`` for what is not a path."""
    if not isinstance(source, (str, os.PathLike)) or not source or isinstance(os.fspath(source), bytes):
        raise InvalidArgument(f"plugin {shown(source)} is not the path of a directory or a tar")
    return Path(os.path.abspath(source))


def rootfs_of(bundle: Path) -> Path:
    """Return the root file system of a directory that is used in place, without links.

    Raises ``InvalidArgument`` if ``rootfs`` or ``config.json`` is a link that leads out of the directory.
    """
    try:
        top = os.open(bundle, _DIRECTORY)
        with contextlib.closing(Walker(top, Bounds(top), os.path.realpath(bundle))) as walker:
            walker.find([CONFIG], CONFIG, follow=True)
            path, name = walker.find([ROOTFS], ROOTFS, follow=True)
    except OSError as error:
        raise file_error(error, f"plugin {str(bundle)!r} cannot be used") from error
    return bundle.joinpath(*path, name)


def unpack(source: str | os.PathLike[str], directory: Path) -> Path:
    """Copy a bundle, or extract a tar of one (compressed by gzip, bzip2, xz or not at all); return ``directory``.

    ``directory`` must not exist, or be empty; it appears complete or not at all. Only ``config.json`` and ``rootfs/``
    are copied, as docker does. Raises ``InvalidArgument`` for what is not a bundle, has an invalid configuration or is
    beyond all bounds, ``Unavailable`` for what does not fit, ``AlreadyExists`` for a directory that is not empty, and
    what ``file_error`` returns for other failures.
    """
    origin = bundle_path(source)
    new = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    try:
        make_directory(new)
        try:
            _fill(origin, new)
            os.rename(new, directory)
        except BaseException:
            trees.remove(new)
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
    with contextlib.ExitStack() as stack:
        top = os.open(new, _DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, top)
        bounds = Bounds(top)
        target = stack.enter_context(contextlib.closing(Target(top, bounds)))
        try:
            for entry in stack.enter_context(_entries(origin, bounds)):
                target.add(entry)
            target.finish()
        except _BROKEN as error:
            raise InvalidArgument(f"{name} is neither a directory nor a valid tar: {error}") from error
        except PluginExecError as error:
            error.message = f"{name}: {error.message}"
            raise
    if not target.has_config:
        raise InvalidArgument(f"{name} has no {CONFIG} at its top", hint=f"put {CONFIG} and {ROOTFS}/ there")
    try:
        load_config(new / CONFIG)
    except InvalidArgument as error:  # name the file of the user, not the copy, which is removed
        error.message = error.message.replace(str(new), str(origin))
        raise
    if not target.has_rootfs:
        raise InvalidArgument(f"{name} has no {ROOTFS}/ at its top", hint=f"put {CONFIG} and {ROOTFS}/ there")


@contextlib.contextmanager
def _entries(origin: Path, bounds: Bounds) -> Iterator[Iterator[Entry]]:
    """Open a bundle, a tar or a directory: what was opened counts, not what is at its path."""
    entries: Generator[Entry, None, None]
    source = os.open(origin, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(source)
        if stat.S_ISDIR(status.st_mode):
            entries = directory_entries(source, os.path.realpath(origin), (CONFIG, ROOTFS), bounds)
        elif stat.S_ISREG(status.st_mode):
            entries = tar_entries(os.fdopen(source, "rb", closefd=False), status.st_size)
        else:
            raise InvalidArgument("it is neither a directory nor a file")
        with contextlib.closing(entries):
            yield entries
    finally:
        os.close(source)
