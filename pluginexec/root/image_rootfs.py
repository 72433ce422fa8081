"""The root file system that a plugin gets from an image: an overlay of its own, mounted when it is created.

A spec carries what is to be mounted as an annotation. So the spec alone is enough to start the plugin, now or after a
reboot; and a plugin whose spec has none costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluginexec.errors import FailedPrecondition
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import file_error
from pluginexec.linux.mounts import unmount
from pluginexec.linux.overlay import mount_overlay

log = logging.getLogger(__name__)

IMAGE = "pluginexec.image"
"""The annotation that holds the name of the image."""
DIGEST = "pluginexec.image-digest"
_ROOTFS = "pluginexec.rootfs"


@dataclass(frozen=True)
class ImageRootfs:
    """What is mounted: the layers of an image, the topmost first, below a directory that takes the changes."""

    lower: tuple[str, ...]
    changes: str
    """A directory with ``upper`` and ``work``, side by side."""

    def annotations(self) -> dict[str, str]:
        """Return the annotations of a spec that has this root file system."""
        return {_ROOTFS: json.dumps({"lower": self.lower, "changes": self.changes})}

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> ImageRootfs | None:
        """Return what a spec wants mounted on its root; ``None`` if nothing."""
        annotations = spec.get("annotations")
        text = annotations.get(_ROOTFS) if isinstance(annotations, Mapping) else None
        with contextlib.suppress(ValueError, TypeError, KeyError):
            value = json.loads(text or "")
            return cls(tuple(map(os.fspath, value["lower"])), os.fspath(value["changes"]))
        return None

    def mount(self, target: Path) -> None:
        """Mount it; what was changed before is there again. ``FailedPrecondition`` if that cannot work here."""
        changes = Path(self.changes)
        upper, work = changes / "upper", changes / "work"
        for directory in (target, changes):
            make_directory(directory)
        try:
            for directory in (upper, work):
                if not directory.exists():  # else it is the plugin's "/", which may have changed its owner and mode
                    directory.mkdir()
                    directory.chmod(0o755)
            mount_overlay(str(target), self.lower, str(upper), str(work))
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> Exception:
        if error.errno == errno.ENOENT:
            hint = "load or pull the image again"
            return FailedPrecondition("a layer of the image is gone from containerd's directory", hint=hint)
        if error.errno in (errno.EINVAL, errno.ENODEV):
            return FailedPrecondition(
                f"the kernel cannot mount an overlay with its changes in {self.changes!r}",
                hint="put --root on a file system such as ext4 or xfs: an overlay cannot hold another one",
            )
        if error.errno == errno.E2BIG:
            return FailedPrecondition(f"the image has too many layers: {error.strerror}")
        return file_error(error, "the image's root file system cannot be mounted")


def unmount_rootfs(target: Path) -> None:
    """Unmount what is mounted on the root of a plugin, if anything is, and remove the mount point.

    What cannot be unmounted stays, and is logged: the end of a plugin must be told all the same.
    """
    while True:
        try:
            target.rmdir()
            return
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                return
        try:
            unmount(str(target))
        except OSError as error:
            log.warning("%s cannot be unmounted: %s", target, error.strerror)
            return
