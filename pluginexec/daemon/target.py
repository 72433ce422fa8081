"""What a command works on: a root, a namespace, and the containerd that is listening, if any."""

from __future__ import annotations

from dataclasses import dataclass

from pluginexec.containerd.remote import DEFAULT_TIMEOUT, Remote
from pluginexec.daemon.private import choose, private_address
from pluginexec.errors import PluginExecError
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
        """Find a listening containerd: the chosen one, else the private one of the root."""
        chosen = choose(address, timeout)
        try:
            candidates = (chosen, Remote(private_address(layout), timeout=timeout))
        except PluginExecError:  # check_socket reports it
            candidates = (chosen, chosen)
        return cls(address, namespace, layout, next((each for each in candidates if each.listens()), None), timeout)
