"""Moments as ``--since`` and ``--until`` have them. Real: everything; the time zone is set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from pluginexec import InvalidArgument
from pluginexec.host.timestamps import parse_when

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


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
        ("2026-11-24T01:02:03.123456789Z", "2026-11-24T01:02:03.123456"),
        ("2026-11-24T01:02:03.5+01:00", "2026-11-24T00:02:03.500"),
        ("2026-11-24T05:02:03", "2026-11-24T03:02:03"),
        ("2026-11-24T05:02", "2026-11-24T03:02:00"),
        ("2026-11-24", "2026-11-23T22:00:00"),
        ("1763946123", "2025-11-24T01:02:03"),
        ("1763946123.25", "2025-11-24T01:02:03.250"),
    ],
)
def test_it_is_understood(text: str, meant: str) -> None:
    assert parse_when(text, NOW) == datetime.fromisoformat(meant).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "10x", "-5m", "1h 30m", "h", "٣m", "nan", "inf", "9" * 20, "9" * 400, "9" * 30 + "h"),
        *("2026-02-31", "2026-11-24T25:00:00Z", "2026-11-24T01:02:03.", "0001-01-01T00:00:00+23:59"),
    ],
)
def test_what_is_no_time_is_refused_with_what_may_be_given(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no time") as caught:
        parse_when(text, NOW)
    assert "RFC 3339" in str(caught.value.hint)
