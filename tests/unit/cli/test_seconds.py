"""The options that take seconds."""

from __future__ import annotations

import click
import pytest

from pluginexec.cli.seconds import LONGEST, Seconds
from pluginexec.containerd.remote import LONGEST_TIMEOUT


def test_the_longest_time_is_that_of_a_remote() -> None:
    assert LONGEST == LONGEST_TIMEOUT


@pytest.mark.parametrize("text", ["0.5", "1", "30", "1e3", str(LONGEST)])
def test_numbers_of_seconds_are_taken(text: str) -> None:
    assert Seconds().convert(text, None, None) == float(text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e7", "10s", "", "none"])
@pytest.mark.parametrize("zero", [True, False])
def test_all_else_is_refused(text: str, zero: bool) -> None:
    with pytest.raises(click.BadParameter):
        Seconds(zero=zero).convert(text, None, None)


def test_zero_is_taken_only_where_it_means_at_once() -> None:
    assert Seconds(zero=True).convert("0", None, None) == 0
    with pytest.raises(click.BadParameter):
        Seconds().convert("0", None, None)
