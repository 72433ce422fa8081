"""Files of this project: opened without following a link, read within a bound, and what an error on one means."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from pluginexec.errors import InvalidArgument, PermissionDenied, PluginExecError, Unavailable

# What is wrong with a path itself, and would be wrong again.
WRONG_PATH = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
WRONG_FOR_GOOD = (*WRONG_PATH, errno.EROFS)
"""The same for a directory that is to be made: its file system may be read-only only once it was in use."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)
"""Why a file could not be opened that may well open later."""
LARGEST_FILE = 16 << 20
"""Bytes of the largest file that is read whole: a ``config.json``."""


class ForeignFile(PermissionError):
    """A file of another user, where only this user's are trusted."""


def open_plain(path: str | os.PathLike[str], flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Return a descriptor of a file; ``OSError`` for a link, and for what is not a regular file.

    A FIFO or a device is not waited for.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_bounded(path: str | os.PathLike[str], limit: int = LARGEST_FILE) -> bytes:
    """Return what is in a regular file; ``OSError`` (EFBIG) if that is more than ``limit`` bytes."""
    with open(open_plain(path), "rb") as file:
        return _read(file, path, limit)


def _read(file: IO[bytes], path: str | os.PathLike[str], limit: int) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", os.fspath(path))
    return content


def read_own(path: str | os.PathLike[str]) -> bytes:
    """As ``read_bounded``, for a file of this user's alone; ``ForeignFile`` for that of another."""
    with open(open_plain(path), "rb") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise ForeignFile(errno.EPERM, "it belongs to another user", os.fspath(path))
        return _read(file, path, LARGEST_FILE)


def write_plain(path: str | os.PathLike[str], content: str) -> None:
    """Write a file, for its owner alone; ``OSError`` for a link, and for what is not a regular file."""
    with open(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(content)


def file_error(error: OSError, what: str, wrong_path: tuple[int, ...] = WRONG_PATH) -> PluginExecError:
    """Return the error of the tree for a file that could not be made, read or written."""
    message = f"{what}: {error.strerror or error}"
    if isinstance(error, PermissionError):
        return PermissionDenied(message, hint="run as root" if os.geteuid() else None)
    if error.errno in wrong_path:
        return InvalidArgument(message)
    return Unavailable(message)


def is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False
