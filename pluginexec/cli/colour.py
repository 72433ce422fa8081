"""Colour, where somebody sees it: only on a terminal, and never against ``NO_COLOR``."""

from __future__ import annotations

import os
from typing import TextIO

import click


def is_capable(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal that can do more than print text."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def styled(text: str, colour: str, stream: TextIO | None) -> str:
    """Return ``text`` in a colour of click's, if it goes to a stream that shall have colour."""
    if os.environ.get("NO_COLOR") or not is_capable(stream):
        return text
    return click.style(text, fg=colour)
