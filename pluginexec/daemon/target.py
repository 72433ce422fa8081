"""What a command works on: a root, a namespace, and the containerd that is listening, if any."""

from __future__ import annotations

from dataclasses import dataclass

from pluginexec.containerd.remote import Remote
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

    @classmethod
    def of(cls, address: str | None, namespace: str, layout: Layout) -> Target:
        """Find a listening containerd: the chosen one, else the private one of the root."""
        chosen = choose(address)
        try:
            candidates = (chosen, Remote(private_address(layout)))
        except PluginExecError:  # check_socket reports it
            candidates = (chosen, chosen)
        return cls(address, namespace, layout, next((each for each in candidates if each.listens()), None))
