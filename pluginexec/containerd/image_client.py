"""One method per verb of ``ctr images``, ``content`` and ``snapshots``, in one namespace; each is one command."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pluginexec.containerd.ctr import Ctr
from pluginexec.containerd.transfer import Progress, transfer
from pluginexec.errors import NotFound, PluginExecError, Unknown

TRANSFER_TIMEOUT = 6 * 3600.0
"""Seconds for what moves an image; containerd itself sets no bound."""
_T = TypeVar("_T")
_HEADER = ["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"]
_ROW = re.compile(r"(\S+)\s+(\S+)\s+([a-z0-9]+:[0-9a-f]{32,128})\s+([0-9.]+ ?[A-Za-z]*)\s+(\S+)\s")
_UNPACKED = re.compile(r"^unpacking (\S+) \([a-z0-9]+:[0-9a-f]+\)", re.MULTILINE)
# The others are what 1.6 makes of a flag that it does not know, before "--".
_NO_LOCAL = re.compile(r"flag provided but not defined: -local|open --local: no such file|reference \"--local\"")


@dataclass(frozen=True)
class StoredImage:
    """An image in containerd's store."""

    name: str
    media_type: str
    digest: str
    size: str
    """Of its compressed layers, as ``ctr`` prints it: ``1.0 MiB``."""
    platforms: tuple[str, ...]


class ImageClient:
    """Images, their content and their snapshots. Every method raises the error tree, as ``Client`` does."""

    def __init__(self, ctr: Ctr) -> None:
        self._ctr = ctr

    @property
    def ctr(self) -> Ctr:
        """What each method runs its command with."""
        return self._ctr

    def images(self, name: str = "") -> list[StoredImage]:
        """Return all images, or the one of this name."""
        filters = [f'name=="{name}"'] if name else []
        return parse_images(self._ctr.run("images", "ls", *filters, operation="list images").stdout)

    def pull(self, name: str, flags: Sequence[str] = (), progress: Progress = None) -> None:
        """Pull an image and unpack it; ``progress`` gets what ``ctr`` draws of that."""

        def pull(*local: str) -> None:
            arguments = ("images", "pull", *local, *flags, "--", name)
            transfer(self._ctr, *arguments, operation="pull", id=name, progress=progress)

        _locally(pull)

    def load(self, archive: Path, flags: Sequence[str] = ()) -> list[str]:
        """Import an archive of docker's or OCI's layout, unpack it, and return the names that containerd gave."""

        def load(*local: str) -> str:
            arguments = ("images", "import", *local, *flags, "--", str(archive))
            return self._ctr.run(*arguments, operation="load", timeout=TRANSFER_TIMEOUT).stdout

        return parse_loaded(_locally(load))

    def save(self, archive: Path, names: Sequence[str], flags: Sequence[str] = ()) -> None:
        """Export images into an archive of OCI's layout, which docker reads, too."""
        arguments = [*flags, "--", str(archive), *names]
        self._ctr.run("images", "export", *arguments, operation="save", timeout=TRANSFER_TIMEOUT)

    def tag(self, name: str, new: str) -> None:
        """Give an image another name, which is taken from another image if need be; ``NotFound``."""
        self._ctr.run("images", "tag", "--force", "--", name, new, operation="tag", id=name)

    def remove(self, name: str) -> None:
        """Remove a name; with the last one go the layers that nothing else uses. ``NotFound``."""
        self._ctr.run("images", "rm", "--sync", "--", name, operation="remove image", id=name)

    def content(self, digest: str) -> bytes:
        """Return a blob, such as a manifest; ``NotFound``."""
        return self._ctr.run("content", "get", "--", digest, operation="read content", id=digest).stdout.encode()

    def prepare(self, key: str, parent: str) -> None:
        """Make a snapshot that keeps the layers of ``parent``, a chain id; ``AlreadyExists``, ``NotFound``.

        ``prepare`` labels it as a root for containerd's garbage collection, so that it has no end; ``view`` does not.
        """
        self._ctr.run("snapshots", "prepare", "--", key, parent, operation="prepare snapshot", id=key)

    def snapshots(self) -> dict[str, str]:
        """Return the parent of each snapshot, empty for one without."""
        text = self._ctr.run("snapshots", "ls", operation="list snapshots").stdout
        rows = [line.split() for line in text.splitlines()[1:]]
        return {row[0]: row[1] if len(row) > 2 else "" for row in rows if row}

    def mounts(self, key: str) -> str:
        """Return the command line that would mount a snapshot on ``/``; ``NotFound``."""
        return self._ctr.run("snapshots", "mounts", "--", "/", key, operation="ask for mounts", id=key).stdout

    def remove_snapshot(self, key: str) -> bool:
        """Remove a snapshot; return whether it was there."""
        try:
            self._ctr.run("snapshots", "rm", "--", key, operation="remove snapshot", id=key)
        except NotFound:
            return False
        return True


def _locally(run: Callable[..., _T]) -> _T:
    """Return what ``run`` returns with ``--local``, or without it where this ``ctr``, of 1.x, has no such flag.

    Without it ``ctr`` 2.x leaves the work to a service that 1.x has not, and prints names cut off and with blanks for
    hyphens.
    """
    try:
        return run("--local")
    except PluginExecError as error:
        if not _NO_LOCAL.search(error.message):
            raise
        return run()


def parse_loaded(stdout: str) -> list[str]:
    """Parse ``ctr images import`` for the names of the images that it has unpacked."""
    return list(dict.fromkeys(_UNPACKED.findall(stdout)))


def parse_images(stdout: str) -> list[StoredImage]:
    """Parse ``ctr images ls``."""
    header, *rows = stdout.splitlines() or [""]
    if header.split() != _HEADER:
        raise Unknown(f"cannot parse the output of ctr images ls: {header[:100]!r}", operation="list images")
    images = []
    for line in rows:
        row = _ROW.match(line)
        if not row:
            raise Unknown(f"cannot parse a line of ctr images ls: {line[:100]!r}", operation="list images")
        platforms = tuple(each for each in row[5].split(",") if each != "-")
        images.append(StoredImage(row[1], row[2], row[3], row[4], platforms))
    return images


def parse_lower(command: str) -> list[str] | None:
    """Parse ``ctr snapshots mounts``: return the layers of an overlay, topmost first; ``None`` for another mount."""
    found = re.match(r"mount -t overlay \S+ / -o (.*)", command)
    if not found:
        return None
    for option in found[1].split(","):
        key, _, value = option.partition("=")
        if key == "lowerdir":
            return value.split(":")
    return None
