"""The images of the root that the commands work on."""

from __future__ import annotations

import contextlib
import os
import sys

from pluginexec.cli.globals import Settings
from pluginexec.containerd.remote import Remote
from pluginexec.containerd.transfer import Progress
from pluginexec.daemon.private import ensure_running
from pluginexec.images.store import Images


def drawing() -> Progress:
    """Return what draws the progress of a pull on stderr; nothing where that is no terminal."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return None

    def draw(data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(stream.fileno(), data)

    return draw


def images_of(settings: Settings, remote: Remote | None = None) -> Images:
    """Return the images of containerd, the private one started if need be."""
    remote = remote or ensure_running(settings.address, settings.layout, settings.timeout)
    return Images(remote, settings.layout.root, namespace=settings.namespace)
