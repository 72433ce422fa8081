"""What the doctor's checks share: what they are told, and what they tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pluginexec.containerd.remote import Remote
from pluginexec.daemon.private import choose, private_address
from pluginexec.errors import PluginExecError

OK, WARNING, FAILURE = "ok", "warning", "failure"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``remedy`` says what to do, where something is to be done."""

    name: str
    status: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Place:
    """Where plugins would run: a root, a namespace, and the containerd that listens, if one does."""

    address: str | None
    namespace: str
    root: Path
    listening: Remote | None

    @classmethod
    def of(cls, address: str | None, namespace: str, root: Path) -> Place:
        """Look for a containerd that listens: the chosen one, else the root's private one."""
        chosen = choose(address)
        try:
            candidates = (chosen, Remote(private_address(root)))
        except PluginExecError:  # a check tells of that
            candidates = (chosen, chosen)
        return cls(address, namespace, root, next((each for each in candidates if each.listens()), None))

    def needed(self) -> str:
        """Return how bad it is if what a containerd needs is missing here: one that listens may have it."""
        return WARNING if self.listening else FAILURE
