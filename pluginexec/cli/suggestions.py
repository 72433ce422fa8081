"""What somebody may have meant who mistyped a word."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, possible: Iterable[str]) -> str:
    """Return what is to be added to a complaint about a word: the possible ones that look like it."""
    from difflib import get_close_matches

    close = get_close_matches(word, possible, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
