"""Suggestions for mistyped words."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, possible: Iterable[str]) -> str:
    """Return a suffix for an error message that suggests similar words, or an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(word, possible, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
