"""The images of the root that the commands work on."""

from __future__ import annotations

from pluginexec.cli.globals import Settings
from pluginexec.containerd.remote import Remote
from pluginexec.daemon.private import ensure_running
from pluginexec.images.store import Images


def images_of(settings: Settings, remote: Remote | None = None) -> Images:
    """Return the images of containerd, the private one started if need be."""
    remote = remote or ensure_running(settings.address, settings.layout, settings.timeout)
    return Images(remote, settings.layout.images, namespace=settings.namespace)
