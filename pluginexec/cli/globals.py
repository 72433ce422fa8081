"""The global options, which precede the command."""

from __future__ import annotations

from dataclasses import dataclass

from pluginexec.root.layout import Layout


@dataclass(frozen=True)
class Settings:
    """The values of the global options, which ``click.pass_obj`` passes to each command."""

    address: str | None
    """containerd's socket; ``None`` for the default of ``Remote()``: ``$CONTAINERD_ADDRESS``, else the host's."""
    namespace: str
    layout: Layout
    """The root and the state directory."""
    timeout: float
    """Seconds that one command to containerd may take."""
    debug: bool
    log_format: str
    """``text`` or ``json``."""
