"""The table of ``pluginexec stats``: redrawn on a terminal, and its units."""

from __future__ import annotations

import pytest

from pluginexec.cli.commands.stats import Screen, show
from pluginexec.host.stats import Sample
from pluginexec.host.usage import Usage

MIB = 1 << 20


def test_on_a_terminal_that_is_too_small_there_is_what_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "14")
    monkeypatch.setenv("LINES", "3")
    samples = [Sample(id, Usage(0.0, None, None, MIB, 0, 0, 0, 0, 0, None), None) for id in ("a", "b", "c")]
    with Screen() as screen:
        screen.draw(samples)
        screen.draw(samples[:1])
        screen.draw([])
    table = "\r\x1b[KCONTAINER ID  \n\x1b[Ka             \n\x1b[J"
    last = "\r\x1b[KCONTAINER ID  \n\x1b[J"
    assert capsys.readouterr().out == f"\x1b[?25l{table}\x1b[2A{table}\x1b[2A{last}\x1b[?25h"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        pytest.param(0, "0B", id="nothing"),
        pytest.param(999, "999B", id="three digits"),
        pytest.param(1094, "1.09kB", id="two behind the point"),
        pytest.param(999_600, "1000kB", id="rounded up"),
        pytest.param(12_345_678, "12.3MB", id="millions"),
        pytest.param(5 * 10**18, "5000PB", id="beyond all units"),
        pytest.param(None, "--", id="unknown"),
    ],
)
def test_what_was_transferred_is_in_three_digits(
    capsys: pytest.CaptureFixture[str], count: int | None, words: str
) -> None:
    usage = Usage(0.0, None, None, MIB, count, 0, count, 0, None, None)
    show([Sample("p", usage, None)], "{{.NetIO}}|{{.BlockIO}}|{{.CPUPerc}}|{{.MemUsage}}|{{.MemPerc}}|{{.PIDs}}")
    assert capsys.readouterr().out == f"{words} / 0B|{words} / 0B|--|-- / 1MiB|--|--\n"
