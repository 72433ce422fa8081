"""One file of a bundle, as a tar describes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

CHUNK = 1 << 20
"""Bytes that are copied at once."""


@dataclass(frozen=True)
class Entry:
    """A file.

    - ``name``: as it came, for messages; ``parts``: its path below the bundle;
    - ``type``: as in ``stat``, ``S_IFREG`` and so on; 0 for one that is not known;
    - ``mode``, ``uid``, ``gid``, ``mtime`` (nanoseconds), ``capability`` (of the file, empty for none);
    - ``size``: with its holes, and ``stored``, without them, in bytes;
    - ``data``: pieces of the content, each with its offset; to be used before the next entry is asked for;
    - ``link``: where a symbolic link leads to, or what file of the bundle a hard link is another name of.
    """

    name: str
    parts: tuple[str, ...]
    type: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    stored: int = 0
    data: Iterable[tuple[int, bytes]] = ()
    link: str = ""
    is_hard_link: bool = False
    device: tuple[int, int] = (0, 0)
    capability: bytes = b""


def path_parts(name: str) -> tuple[str, ...]:
    """Split a path; ``..`` at the top stays at the top."""
    return tuple(part for part in os.path.normpath(f"/{name}").split("/") if part)
