"""The directories of an image's layers, and the snapshots that keep them as long as a root needs them.

An image that is removed takes its layers with it, from under the plugins that run it. So each root has a snapshot of
its own on top of the layers of every image that it uses; containerd keeps what a snapshot stands on. Its name holds the
root's, because other roots may use the same image in the same containerd.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Collection
from pathlib import Path

from pluginexec.containerd.image_client import ImageClient, parse_lower
from pluginexec.errors import AlreadyExists, FailedPrecondition
from pluginexec.images.config import ImageConfig
from pluginexec.linux.directories import make_directory, names_in
from pluginexec.linux.files import read_bounded, write_plain

log = logging.getLogger(__name__)

_SUFFIX = ".json"
_NO_OVERLAY = "containerd does not keep the layers of its images as overlays"


class Layers:
    """The layers that one root uses; what is known of them is below ``directory``."""

    def __init__(self, client: ImageClient, directory: Path, root: Path) -> None:
        self._client = client
        self._directory = directory
        name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()
        self._prefix = f"pluginexec-{name[:12]}-"

    def lower(self, config: ImageConfig, digest: str) -> tuple[str, ...]:
        """Return the directories of an image's layers, topmost first, after making sure that they stay.

        ``digest`` is that of the image: it is what ``release`` knows them by.
        """
        key = f"{self._prefix}{config.chain_id.partition(':')[2][:32]}"
        digests, layers = self._known(key)
        if not layers:
            with contextlib.suppress(AlreadyExists):
                self._client.prepare(key, config.chain_id)
            layers = parse_lower(self._client.mounts(key)) or []
            if not layers:
                raise FailedPrecondition(_NO_OVERLAY, hint="use its overlayfs snapshotter")
        if digest not in digests:
            self._keep(key, {*digests, digest}, layers)
        return tuple(layers)

    def release(self, needed: Collection[str]) -> None:
        """Let the layers go of which no image is of the digests ``needed``."""
        for name in names_in(self._directory):
            key = name.removesuffix(_SUFFIX)
            digests, _ = self._known(key)
            if key.startswith(self._prefix) and digests and not digests & set(needed):
                self._client.remove_snapshot(key)
                with contextlib.suppress(OSError):
                    (self._directory / name).unlink()

    def _known(self, key: str) -> tuple[set[str], list[str]]:
        """Return the images of a snapshot, and its layers if they are still those that they were."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            known = json.loads(read_bounded(self._directory / f"{key}{_SUFFIX}"))
            digests = set(map(str, known["digests"]))
            try:
                layers = [path for path, identity in known["layers"] if _identity(path) == identity]
            except OSError:
                return digests, []
            return digests, layers if len(layers) == len(known["layers"]) else []
        return set(), []

    def _keep(self, key: str, digests: Collection[str], layers: Collection[str]) -> None:
        content = {"digests": sorted(digests), "layers": [(layer, _identity(layer)) for layer in layers]}
        keep(self._directory / f"{key}{_SUFFIX}", json.dumps(content))


def keep(path: Path, text: str) -> None:
    """Write a file of the cache, if that is possible: without it all is asked for again."""
    try:
        make_directory(path.parent)
        new = path.with_name(f"{path.name}.{os.getpid()}")
        write_plain(new, text)
        new.replace(path)
    except OSError as error:
        log.debug("%s cannot be written: %s", path, error)


def _identity(layer: str) -> list[int]:
    """Return what tells a directory from another one that got its name later."""
    status = os.stat(layer)
    return [status.st_dev, status.st_ino, status.st_ctime_ns]
