"""Colour: only on a terminal, and never if ``NO_COLOR`` is set."""

from __future__ import annotations

import os
from typing import TextIO

import click


def is_capable(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that understands escape sequences."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def styled(text: str, colour: str, stream: TextIO | None) -> str:
    """Return ``text`` in one of click's colours if ``stream`` supports it, otherwise unchanged."""
    if os.environ.get("NO_COLOR") or not is_capable(stream):
        return text
    return click.style(text, fg=colour)
