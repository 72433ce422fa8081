"""The bytes of a tar, unpacked as they are read, in one direction and within bounds."""

from __future__ import annotations

import re
import tarfile
from typing import IO, Protocol

from pluginexec.errors import InvalidArgument
from pluginexec.managed.archive.entry import CHUNK

_MOST_HEADER = 1 << 20
"""Bytes in front of the content of an entry: long names, attributes, the map of a sparse file."""
_LONGEST_NUMBER = 4096
"""Digits. Older tarfiles search a header in a time that is quadratic in these."""
_ALWAYS = 1 << 30
_MOST_RATIO = 100
"""A compressed tar may unpack to ``_ALWAYS`` bytes, and so many times its size more."""
_MOST_MEMORY = 256 << 20
"""Bytes for the dictionary of xz; its highest level asks for 65 MiB."""
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class TarStream:
    """What ``tarfile`` reads a tar from: as much of a file object as it needs, for an open file of ``size`` bytes.

    ``read`` is for headers, and counts what ``allow`` allows; ``content`` is for the rest. Damage and what is too large
    raise ``InvalidArgument``, the decompressors their own errors.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._position = 0
        self._allowed = _MOST_HEADER
        self._unpacked = _decompressor(file)
        self._limit = _ALWAYS + _MOST_RATIO * size
        self.last_block = b""
        """The last header: in the end, nothing or only zeros."""

    def allow(self) -> None:
        """Let the header of the next entry begin."""
        self._allowed = _MOST_HEADER

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, position: int) -> None:
        """Go on to a position."""
        if not self._position <= position < 1 << 62:
            raise InvalidArgument("its tar is damaged: an entry has an impossible size")
        if self._unpacked is None:
            self._file.seek(position)
            self._position = position
        while self._position < position and self.content(min(position - self._position, CHUNK)):
            pass

    def read(self, size: int) -> bytes:
        """Return a part of a header."""
        self._allowed -= size
        if size < 0 or self._allowed < 0:
            raise InvalidArgument(f"its tar has a header of more than {_MOST_HEADER >> 10} KiB")
        data = b""
        while len(data) < size and (piece := self.content(size - len(data))):
            data += piece
        if size > _LONGEST_NUMBER and max(map(len, re.findall(rb"[0-9]+", data)), default=0) > _LONGEST_NUMBER:
            raise InvalidArgument("its tar has a header with an endless number")
        self.last_block = data
        return data

    def content(self, size: int) -> bytes:
        """Return up to so many bytes, none at the end."""
        try:
            data = (self._unpacked or self._file).read(size)
        except OSError as error:
            if error.errno:
                raise
            raise tarfile.ReadError(str(error)) from error  # gzip and bz2 say so that what they read is damaged
        self._position += len(data)
        if self._unpacked and self._position > self._limit:
            raise InvalidArgument(f"it unpacks to more than 1 GiB and {_MOST_RATIO} times its size")
        return data


def _decompressor(file: IO[bytes]) -> _Readable | None:
    start = file.read(len(_XZ))
    file.seek(0)
    if start.startswith(_GZIP):
        import gzip

        return gzip.GzipFile(fileobj=file)
    if start.startswith(_BZIP2):
        import bz2

        return bz2.BZ2File(file)
    return _Xz(file) if start == _XZ else None


class _Xz:
    """Decompresses xz with a bound on memory, which ``lzma.LZMAFile`` does not have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pending = b""
        self._begin()

    def _begin(self) -> None:
        import lzma

        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decompressor.eof:  # another one may follow, after zeros
                self._pending = (self._decompressor.unused_data or self._file.read(CHUNK)).lstrip(b"\0")
                if not self._pending:
                    return b""
                self._begin()
            elif self._decompressor.needs_input and not self._pending:
                self._pending = self._file.read(CHUNK)
                if not self._pending:
                    raise EOFError("compressed file ended before its end was marked")
            data = self._decompressor.decompress(self._pending, size)
            self._pending = b""
            if data:
                return data
