"""Colour: only on a terminal, and never if ``NO_COLOR`` is set."""

from __future__ import annotations

import io

import pytest

from pluginexec.cli.colour import styled


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "is_coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_is_only_for_terminals_and_never_with_no_color(
    env: dict[str, str], is_coloured: bool, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert styled("zzz", "red", Terminal()) == ("\x1b[31mzzz\x1b[0m" if is_coloured else "zzz")
    assert styled("zzz", "red", io.StringIO()) == "zzz"
    assert styled("zzz", "red", None) == "zzz"
