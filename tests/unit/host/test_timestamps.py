"""Moments as ``--since`` and ``--until`` have them. Real: everything; the time zone is set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from pluginexec import InvalidArgument
from pluginexec.host.timestamps import nanoseconds, parse_when

NOW = nanoseconds(datetime(2026, 11, 24, 12, tzinfo=timezone.utc))


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-2")  # two hours east
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10m", "2026-11-24T11:50:00"),
        ("1h30m", "2026-11-24T10:30:00"),
        ("1.5h", "2026-11-24T10:30:00"),
        ("0s", "2026-11-24T12:00:00"),
        ("500ms", "2026-11-24T11:59:59.500"),
        ("2026-11-24T01:02:03Z", "2026-11-24T01:02:03"),
        ("2026-11-24T01:02:03.5+01:00", "2026-11-24T00:02:03.500"),
        ("2026-11-24T05:02:03", "2026-11-24T03:02:03"),
        ("2026-11-24T05:02", "2026-11-24T03:02:00"),
        ("2026-11-24", "2026-11-23T22:00:00"),
        ("1763946123", "2025-11-24T01:02:03"),
        ("1763946123.25", "2025-11-24T01:02:03.250"),
    ],
)
def test_it_is_understood(text: str, meant: str) -> None:
    assert parse_when(text, NOW) == nanoseconds(datetime.fromisoformat(meant).replace(tzinfo=timezone.utc))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("1763946123.000000001", 1),
        ("1763946123.123456789", 123_456_789),
        ("1763946123.1234567899", 123_456_789),  # docker cuts what is beyond the nanosecond, too
        ("1763946123.9999999999", 999_999_999),
        ("1763946123." + "0" * 400 + "1", 0),
        ("2025-11-24T01:02:03.123456789Z", 123_456_789),
        ("2025-11-24T02:02:03.000000001+01:00", 1),
        ("2025-11-24T03:02:03.1234567899", 123_456_789),  # local
        ("2025-11-24T01:02:03.1Z", 100_000_000),
    ],
)
def test_no_nanosecond_of_a_fraction_is_lost(text: str, after: int) -> None:
    assert parse_when(text, NOW) == 1_763_946_123 * 10**9 + after


@pytest.mark.parametrize(("text", "ago"), [("1ns", 1), ("1.5us", 1500), (".000000001s", 1), ("3.7s1ns", 3_700_000_001)])
def test_no_nanosecond_of_how_long_ago_is_lost(text: str, ago: int) -> None:
    assert parse_when(text, NOW) == NOW - ago


def test_the_whole_range_of_a_datetime_is_exact() -> None:
    for moment in (datetime.min, datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime.max):
        given = moment.replace(tzinfo=timezone.utc)
        assert parse_when(given.isoformat()) == nanoseconds(given)
    assert nanoseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, timezone.utc)) == -1000


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "10x", "-5m", "1h 30m", "h", "٣m", "nan", "inf", "9" * 20, "9" * 400, "9" * 30 + "h"),
        *("2026-02-31", "2026-11-24T25:00:00Z", "2026-11-24T01:02:03.", "0001-01-01T00:00:00+23:59"),
    ],
)
def test_what_is_not_a_time_is_refused_with_what_may_be_given(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^not a time: ") as caught:
        parse_when(text, NOW)
    assert "RFC 3339" in str(caught.value.hint)
