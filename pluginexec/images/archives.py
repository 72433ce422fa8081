"""Archives of images, of docker's or OCI's layout: loaded once, as long as the file stays as it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

from pluginexec.containerd.image_client import ImageClient, StoredImage
from pluginexec.errors import InvalidArgument
from pluginexec.images.reference import parse_reference
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import file_error, read_bounded, write_plain

ARCHIVES = ("oci-archive", "docker-archive")
"""What a name begins with that is an archive, before a colon; skopeo's words."""
_DATED = re.compile(r"^import-\d{4}-\d{2}-\d{2}(?=[:@])")
"""What ``ctr`` puts before a tag that stands alone."""


def is_archive(name: str) -> bool:
    """Return whether a name is that of an archive, such as ``oci-archive:FILE``."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind in ARCHIVES


class Archives:
    """The archives that were loaded into one containerd; what they held is remembered below ``directory``."""

    def __init__(self, client: ImageClient, directory: Path) -> None:
        self._client = client
        self._directory = directory

    def load(self, archive: Path) -> list[str]:
        """Load an archive, and return the names of its images in full; ``InvalidArgument`` for what is none."""
        _check(archive)
        base_name = f"localhost/{_base_name(archive)}"
        # By digest only where the archive names nothing: else each image would get that name, too. And a base name
        # takes the place of whole names, which are dropped then.
        names = self._client.load(archive) or self._client.load(archive, ["--digests", "--base-name", base_name])
        if not names:
            raise InvalidArgument(f"archive {str(archive)!r} holds no image for this machine")
        full = [self._complete(name, base_name) for name in names]
        self._remember(archive, full[0])
        return full

    def image(self, archive: Path) -> StoredImage:
        """Return the first image of an archive, which is loaded unless it was already."""
        identity = _check(archive)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(read_bounded(self._path(archive)))
            if kept["identity"] == identity:
                stored = self._client.images(kept["name"])
                if stored and stored[0].digest == kept["digest"]:
                    return stored[0]
        return self._client.images(self.load(archive)[0])[0]

    def _complete(self, name: str, base_name: str) -> str:
        """Return docker's full name of an image that has been imported, after giving it that."""
        with contextlib.suppress(InvalidArgument):
            full = parse_reference(_DATED.sub(base_name, name)).name
            if full != name:
                self._client.tag(name, full)
                self._client.remove(name)
            return full
        return name

    def _remember(self, archive: Path, name: str) -> None:
        stored = self._client.images(name)
        with contextlib.suppress(OSError):
            make_directory(self._directory)
            record = {"identity": _check(archive), "name": name, "digest": stored[0].digest if stored else ""}
            write_plain(self._path(archive), json.dumps(record))

    def _path(self, archive: Path) -> Path:
        return self._directory / f"{hashlib.sha256(os.fsencode(archive)).hexdigest()[:32]}.json"


def _check(archive: Path) -> list[int]:
    """Return what changes when an archive is replaced or written to; raise if it is no file."""
    try:
        status = archive.stat()
    except OSError as error:
        raise file_error(error, f"archive {str(archive)!r} cannot be read") from error
    if not archive.is_file():
        raise InvalidArgument(f"archive {str(archive)!r} is not a regular file")
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def _base_name(archive: Path) -> str:
    """Return a name for images that an archive does not name, made of the file's own."""
    word = re.sub(r"[^a-z0-9]+", "-", archive.name.lower().partition(".")[0]).strip("-")
    return word or "archive"
