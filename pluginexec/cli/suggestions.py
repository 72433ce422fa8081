"""What is said of a word that does not exist here: what it was mistyped for, or what to do instead."""

from __future__ import annotations

from collections.abc import Iterable

_LETTERS_PER_ERROR = 4
"""A word may differ by one error for so many of its letters, and by one in any case."""
_SHORT = 3
"""Among words of so few letters nearly all are one error apart: more must agree."""
_MOST = 3
_LONGEST = 32
"""No word here is longer, and the comparison takes the product of the lengths."""


def did_you_mean(word: str, possible: Iterable[str]) -> str:
    """Return a suffix for an error message that suggests what ``word`` was mistyped for, or an empty string."""
    if len(word) > _LONGEST:
        return ""
    close = sorted((_errors(word, each), each) for each in possible if _is_typing_error(word, each))
    best = [each for errors, each in close if errors == close[0][0]]
    return f"; did you mean {' or '.join(best[:_MOST])}?" if best else ""


def no_such_word(word: str, possible: Iterable[str], group: str = "") -> str:
    """Return what to do instead of a word of docker, podman or nerdctl, else what ``did_you_mean`` does.

    ``group`` is the command that the word was to be a command of, if any.
    """
    from pluginexec.cli.docker_words import ANSWERS

    answer = ANSWERS.get(f"{group} {word}".strip())
    return f"; {answer}" if answer else did_you_mean(word, possible)


def _is_typing_error(word: str, meant: str) -> bool:
    typed, right = word.lstrip("-").lower(), meant.lstrip("-").lower()
    errors = _errors(typed, right)
    if errors > max(1, len(typed) // _LETTERS_PER_ERROR):
        return False
    if errors > 1 and typed.endswith(right):  # "reattach" is another word, with a prefix
        return False
    return len(typed) > _SHORT or typed[:1] == right[:1] or sorted(typed) == sorted(right)


def _errors(word: str, meant: str) -> int:
    """Return how many letters are missing, added, wrong, or swapped with the next (Damerau, Levenshtein)."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, typed in enumerate(word, 1):
        earlier, before, row = before, row, [i]
        for j, right in enumerate(meant, 1):
            errors = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (typed != right))
            if i > 1 and j > 1 and typed == meant[j - 2] and word[i - 2] == right:
                errors = min(errors, earlier[j - 2] + 1)
            row.append(errors)
    return row[-1]
