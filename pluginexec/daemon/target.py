"""What a command works on: a root, a namespace, and the containerd that is listening, if any."""

from __future__ import annotations

from dataclasses import dataclass

from pluginexec.containerd.remote import DEFAULT_TIMEOUT, Remote
from pluginexec.daemon.private import find_listening
from pluginexec.root.layout import Layout


@dataclass(frozen=True)
class Target:
    """Where plugins would run: a root, a namespace, and the containerd that is listening, if any."""

    address: str | None
    namespace: str
    layout: Layout
    listening: Remote | None
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that one command to containerd may take."""

    @classmethod
    def of(cls, address: str | None, namespace: str, layout: Layout, timeout: float = DEFAULT_TIMEOUT) -> Target:
        """Find a listening containerd: the chosen one; where none was given, else the private one of the root."""
        return cls(address, namespace, layout, find_listening(address, layout, timeout), timeout)
