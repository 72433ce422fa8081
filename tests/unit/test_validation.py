"""Ids, namespaces and signals, checked before anything is run with them.

Real: this machine's signals; no command runs.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.validation import check_id, check_namespace, parse_signal
from tests.support.hostile import HUGE, nested

GOOD = [
    pytest.param("a", id="one-letter"),
    pytest.param("0", id="one-digit"),
    pytest.param("a" * 76, id="76-characters"),
    pytest.param("plugins.moby", id="dot"),
    pytest.param("a-b_c.d", id="all-joints"),
    pytest.param("helper", id="helper"),
    pytest.param("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", id="digest"),
]
BAD = [
    pytest.param("", id="empty"),
    pytest.param("a" * 77, id="77-characters"),
    pytest.param("a" * 1_000_000, id="megabyte"),
    pytest.param("../x", id="parent"),
    pytest.param("a/b", id="slash"),
    pytest.param("/a", id="absolute"),
    pytest.param(".", id="dot"),
    pytest.param("-rf", id="flag"),
    pytest.param("--", id="end-of-flags"),
    pytest.param("a-", id="last-joint"),
    pytest.param(".a", id="first-joint"),
    pytest.param("a--b", id="double-joint"),
    pytest.param("a b", id="space"),
    pytest.param(" a", id="leading-space"),
    pytest.param("a\n", id="trailing-newline"),
    pytest.param("a\nb", id="newline"),
    pytest.param("a\0b", id="nul"),
    pytest.param("$(reboot)", id="substitution"),
    pytest.param("a;b", id="semicolon"),
    pytest.param("a&b", id="ampersand"),
    pytest.param("a|b", id="pipe"),
    pytest.param("`a`", id="backquotes"),
    pytest.param("a'b", id="quote"),
    pytest.param('a"b', id="double-quote"),
    pytest.param("a*", id="star"),
    pytest.param("~", id="tilde"),
    pytest.param("%61", id="percent"),
    pytest.param("a=b", id="equals"),
    pytest.param("é", id="latin"),
    pytest.param("\uff41", id="full-width"),
    pytest.param("\uff11", id="full-width-digit"),
    pytest.param("\u202ea", id="right-to-left"),
    pytest.param("😀", id="emoji"),
    pytest.param("\udcff", id="surrogate"),
    pytest.param(None, id="none"),
    pytest.param(b"a", id="bytes"),
    pytest.param(1, id="int"),
]


@pytest.mark.parametrize("check", [check_id, check_namespace])
@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_containerd_accepts_comes_back(check: Callable[[str], str], name: str) -> None:
    assert check(name) == name


@pytest.mark.parametrize("check", [check_id, check_namespace])
@pytest.mark.parametrize("name", BAD)
def test_a_name_that_containerd_refuses_is_refused(check: Callable[[Any], str], name: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(name)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("check", [check_id, check_namespace])
@pytest.mark.parametrize("name", ["h", "help"])
def test_a_name_that_ctr_takes_for_a_call_for_help_is_refused(check: Callable[[str], str], name: str) -> None:
    with pytest.raises(InvalidArgument, match="call for help"):
        check(name)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        pytest.param(15, 15, id="number"),
        pytest.param(1, 1, id="lowest"),
        pytest.param(signal.SIGRTMAX, 64, id="highest"),
        pytest.param(signal.SIGTERM, 15, id="enum"),
        pytest.param("TERM", 15, id="name"),
        pytest.param("SIGTERM", 15, id="long-name"),
        pytest.param("sigkill", 9, id="lower-case"),
        pytest.param("9", 9, id="digits"),
        pytest.param("010", 10, id="leading-zero"),
        pytest.param("CLD", 17, id="alias"),
        pytest.param("RTMIN", 34, id="first-real-time"),
        pytest.param("SIGRTMIN+3", 37, id="real-time-from-first"),
        pytest.param("rtmax-1", 63, id="real-time-from-last"),
    ],
)
def test_a_signal_becomes_its_number(given: int | str, number: int) -> None:
    assert parse_signal(given) == number
    assert type(parse_signal(given)) in (int, signal.Signals)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(0, id="zero"),
        pytest.param("0", id="zero-digits"),
        pytest.param(-1, id="negative"),
        pytest.param("-9", id="negative-digits"),
        pytest.param(65, id="too-high"),
        pytest.param("9" * 5000, id="huge-digits"),
        pytest.param(HUGE, id="huge"),
        pytest.param(-HUGE, id="huge-negative"),
        pytest.param(nested(5000), id="nested"),
        pytest.param("\x1b[2J", id="control"),
        pytest.param("", id="empty"),
        pytest.param("SIG", id="prefix-alone"),
        pytest.param("SIGSIGTERM", id="prefix-twice"),
        pytest.param("SIG_IGN", id="handler"),
        pytest.param("NOSUCH", id="unknown"),
        pytest.param("TERM ", id="space"),
        pytest.param("TERM\n", id="newline"),
        pytest.param("²", id="superscript"),
        pytest.param("٩", id="arabic-digit"),
        pytest.param("RTMIN-1", id="below-real-time"),
        pytest.param("RTMAX+1", id="above-real-time"),
        pytest.param("RTMIN+99", id="far-above-real-time"),
        pytest.param(True, id="bool"),
        pytest.param(9.0, id="float"),
        pytest.param(None, id="none"),
        pytest.param(b"TERM", id="bytes"),
    ],
)
def test_what_is_no_signal_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal") as caught:
        parse_signal(given)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_a_signal_becomes_a_plain_number() -> None:
    # The text of an enum member, which ctr would get, is its name before Python 3.11.
    assert type(parse_signal("TERM")) is int
    assert type(parse_signal(signal.SIGTERM)) is int
