"""The result of one of the doctor's checks."""

from __future__ import annotations

from dataclasses import dataclass

from pluginexec.daemon.target import Target

OK, WARNING, FAILURE = "ok", "warning", "failure"


@dataclass(frozen=True)
class Check:
    """The result of one check; ``remedy`` says what to do, and is empty if nothing needs to be done."""

    name: str
    status: str
    found: str
    remedy: str = ""


def requirement_status(target: Target) -> str:
    """Return the status if a requirement of containerd is missing: one that is listening may have it elsewhere."""
    return WARNING if target.listening else FAILURE
