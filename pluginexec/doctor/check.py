"""The input and the result of the doctor's checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pluginexec.containerd.remote import Remote
from pluginexec.daemon.private import choose, private_address
from pluginexec.errors import PluginExecError

OK, WARNING, FAILURE = "ok", "warning", "failure"


@dataclass(frozen=True)
class Check:
    """The result of one check; ``remedy`` says what to do, and is empty if nothing needs to be done."""

    name: str
    status: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Place:
    """Where plugins would run: a root, a namespace, and the containerd that is listening, if any."""

    address: str | None
    namespace: str
    root: Path
    listening: Remote | None

    @classmethod
    def of(cls, address: str | None, namespace: str, root: Path) -> Place:
        """Find a listening containerd: the chosen one, else the private one of the root."""
        chosen = choose(address)
        try:
            candidates = (chosen, Remote(private_address(root)))
        except PluginExecError:  # check_socket reports it
            candidates = (chosen, chosen)
        return cls(address, namespace, root, next((each for each in candidates if each.listens()), None))

    def needed(self) -> str:
        """Return the status if a requirement of containerd is missing: one that is listening may have it elsewhere."""
        return WARNING if self.listening else FAILURE
