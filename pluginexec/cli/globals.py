"""What is said before the command: the globals of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The globals, as each command gets them by ``click.pass_obj``."""

    address: str | None
    """containerd's socket; ``None``: what ``Remote()`` chooses (``$CONTAINERD_ADDRESS``, else its default)."""
    namespace: str
    root: Path
    """Absolute."""
    debug: bool
    log_format: str
    """``text`` or ``json``."""
