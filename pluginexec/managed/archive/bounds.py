"""What a bundle may cost: room on the disk, files, names, and the way to each of them."""

from __future__ import annotations

import os

from pluginexec.errors import InvalidArgument, Unavailable, shown

LONGEST_PATH = 4095
"""Bytes: Linux takes no longer path (``PATH_MAX``), so no process could open the file."""
_LONGEST_NAME = 255
"""Bytes, likewise (``NAME_MAX``)."""
MOST_ENTRIES = 1_000_000
"""Files and directories in a bundle; images of distributions have some ten thousand."""
_MOST_NAMES = 256 << 20
"""Bytes of all paths together."""
_MOST_STEPS = 32_000_000
"""Parts of paths that are walked, for all entries together; one that must be opened counts as eight."""
OPENED = 8
_KEPT_FREE = 20
"""What stays free of the room that there was: one part in so many."""
_BLOCK = 4096


class Bounds:
    """Counts what is unpacked to a directory; each method raises the error when it is too much.

    Too large for the file system is ``Unavailable``, as a full disk is; all else is ``InvalidArgument``.
    """

    def __init__(self, directory: int) -> None:
        self._directory = directory
        free, inodes = self._free()
        self._least_free, self._least_inodes = free // _KEPT_FREE, inodes // _KEPT_FREE
        self._entries = 0
        self._names = 0
        self._steps = 0

    def add(self, name: str, stored: int) -> None:
        """Count an entry before it is unpacked: its name as it came, and the bytes that it will take."""
        encoded = name.encode(errors="surrogateescape")
        length = len(encoded)
        if length > LONGEST_PATH:
            raise InvalidArgument(f"entry {shown(name)} has a path of {length} bytes; Linux takes {LONGEST_PATH}")
        if any(len(part) > _LONGEST_NAME for part in encoded.split(b"/")):
            raise InvalidArgument(f"entry {shown(name)} has a name of more than {_LONGEST_NAME} bytes")
        self._names += length
        if self._names > _MOST_NAMES:
            raise InvalidArgument(f"the paths of its entries take more than {_MOST_NAMES >> 20} MiB")
        self.add_file(name, stored)

    def add_file(self, name: str, stored: int = 0) -> None:
        """Count a file or directory that will be made, as ``add`` does; it need not have an entry."""
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise InvalidArgument(f"it has more than {MOST_ENTRIES:,} files and directories")
        self.reserve(name, stored)

    def reserve(self, name: str, stored: int) -> None:
        """Check that there is room for so many bytes and a file more."""
        free, inodes = self._free()
        if stored + _BLOCK > free - self._least_free:
            message = f"entry {shown(name)} of {stored:,} bytes does not fit: {free:,} bytes are free"
            raise Unavailable(message, hint=f"make room; 1/{_KEPT_FREE} of what is free is kept")
        if inodes and inodes <= self._least_inodes:
            raise Unavailable(f"entry {shown(name)} does not fit: {inodes:,} files more can be made", hint="make room")

    def step(self, name: str, cost: int = 1) -> None:
        """Count a step on the way to an entry."""
        self._steps += cost
        if self._steps > _MOST_STEPS:
            raise InvalidArgument(f"entry {shown(name)} is too far: the entries lie too deep, or behind too many links")

    def _free(self) -> tuple[int, int]:
        status = os.fstatvfs(self._directory)
        # A file system that makes inodes as it needs them has none to count.
        return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else 0
