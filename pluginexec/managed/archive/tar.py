"""The entries of a tar."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Generator, Iterator
from typing import IO, Any, cast

from pluginexec.errors import InvalidArgument, shown
from pluginexec.managed.archive.entry import CHUNK, Entry, path_parts
from pluginexec.managed.archive.stream import TarStream

_CAPABILITY = "SCHILY.xattr.security.capability"
_MOST_GLOBALS = 64
_NANOSECONDS = 10**9


def tar_entries(file: IO[bytes], size: int) -> Generator[Entry, None, None]:
    """Yield the entries of a tar: an open file of ``size`` bytes, compressed or not.

    Raises ``InvalidArgument`` for what is damaged, and the errors of ``tarfile`` and of the decompressors.
    """
    stream = TarStream(file, size)
    tar: Any  # its list of members is not in its types
    with tarfile.TarFile(fileobj=cast("IO[bytes]", stream)) as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # a million of them would take a gigabyte
            if len(tar.pax_headers) > _MOST_GLOBALS:
                raise InvalidArgument(f"its tar has more than {_MOST_GLOBALS} global headers")
            yield _entry(info, stream)
            stream.allow()
    if stream.last_block.strip(b"\0"):
        raise InvalidArgument("its tar is damaged: after some entries comes what is not a header")


def _entry(info: tarfile.TarInfo, stream: TarStream) -> Entry:
    if "\0" in info.name + info.linkname:
        raise InvalidArgument(f"entry {shown(info.name)} has a zero byte in a name")
    segments = _segments(info) if info.isreg() else []
    return Entry(
        name=info.name,
        parts=path_parts(info.name),
        type=_type(info),
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        mtime=int(info.mtime * _NANOSECONDS),
        size=info.size if info.isreg() else 0,
        stored=sum(length for _, length in segments),
        data=_data(info.offset_data, segments, stream),
        link=info.linkname,
        is_hard_link=info.islnk(),
        device=(info.devmajor, info.devminor),
        capability=str(info.pax_headers.get(_CAPABILITY, "")).encode(errors="surrogateescape"),
    )


def _type(info: tarfile.TarInfo) -> int:
    for is_it, type in (
        (info.isreg(), stat.S_IFREG),
        (info.isdir(), stat.S_IFDIR),
        (info.issym(), stat.S_IFLNK),
        (info.isfifo(), stat.S_IFIFO),
        (info.ischr(), stat.S_IFCHR),
        (info.isblk(), stat.S_IFBLK),
    ):
        if is_it:
            return type
    return 0


def _segments(info: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Return the offset and the length of each piece of content; what lies between is a hole."""
    sparse: Any = info.sparse  # a list, unlike its type
    segments: list[tuple[int, int]] = [(0, info.size)] if sparse is None else sparse
    end = 0 if info.size >= 0 else 1 << 63
    for offset, length in segments:
        if offset < end or length < 0 or offset + length > info.size:
            raise InvalidArgument(f"entry {shown(info.name)} has an impossible size or map of its holes")
        end = offset + length
    return segments


def _data(start: int, segments: list[tuple[int, int]], stream: TarStream) -> Iterator[tuple[int, bytes]]:
    if segments:
        stream.seek(start)
    for offset, length in segments:
        end = offset + length
        while offset < end:
            data = stream.content(min(end - offset, CHUNK))
            if not data:
                raise tarfile.ReadError("unexpected end of data")
            yield offset, data
            offset += len(data)
