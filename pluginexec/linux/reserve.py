"""Files that can be written on a full file system, because their inode and their blocks are taken beforehand."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pluginexec.linux.files import open_plain

RESERVED = 4096
"""Bytes that are taken; a record is shorter, unless it holds a very long error."""
_CANNOT_ALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL)


def reserve(path: Path) -> None:
    """Take the space of a small file; ``OSError`` if there is none left."""
    descriptor = open_plain(path, os.O_WRONLY | os.O_CREAT)
    try:
        try:
            os.posix_fallocate(descriptor, 0, RESERVED)
        except OSError as error:  # not every file system can
            if error.errno not in _CANNOT_ALLOCATE:
                raise
            os.write(descriptor, bytes(RESERVED))
    finally:
        os.close(descriptor)


def write_in_place(path: Path, content: str) -> None:
    """Write a file in the space that was reserved for it; it is made where there is none. To be renamed when done."""
    with open(open_plain(path, os.O_WRONLY | os.O_CREAT), "wb", buffering=0) as file:
        data = memoryview(content.encode())
        while data:
            data = data[file.write(data) :]
        file.truncate()
