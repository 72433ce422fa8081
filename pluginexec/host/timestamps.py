"""Points in time as docker's ``--since`` and ``--until`` take them: RFC 3339, Unix seconds, or how long ago.

All of it is counted in whole nanoseconds since 1970: a float keeps no more than some hundred of them apart, and
``datetime`` no more than a microsecond, while the times in a log have nine digits.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone

from pluginexec.errors import InvalidArgument, shown

SECOND = 1_000_000_000
"""Nanoseconds of one second."""
_UNITS = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 1_000_000, "us": 1000, "µs": 1000, "ns": 1}
_AMOUNT = re.compile(r"(\d*)(?:\.(\d*))?(h|ms|us|µs|ns|m|s)", re.ASCII)
_DURATION = re.compile(r"(?:(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|us|µs|ns|m|s))+", re.ASCII)
_SECONDS = re.compile(r"(\d+)(?:\.(\d+))?", re.ASCII)
# Go's forms: a date alone, minutes, seconds, a fraction of any length; without a zone it is local time.
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?", re.ASCII | re.IGNORECASE
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_HINT = "give RFC 3339 (2026-11-24T01:02:03Z), Unix seconds, or how long ago (10m, 1h30m)"


def nanoseconds(moment: datetime) -> int:
    """Return an aware ``datetime`` as nanoseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


_FIRST = nanoseconds(datetime.min.replace(tzinfo=timezone.utc))
_LAST = nanoseconds(datetime.max.replace(tzinfo=timezone.utc)) + 999


def parse_when(text: str, now: int | None = None) -> int:
    """Return the point in time as nanoseconds since 1970; how long ago is counted from ``now``.

    Digits beyond the nanosecond are cut off. Raises ``InvalidArgument`` for what is not a time of the years 1 to 9999.
    """
    try:
        when = _parse(text, time.time_ns() if now is None else now)
        if when is not None and _FIRST <= when <= _LAST:
            return when
    except (ValueError, OverflowError, OSError):
        pass  # the 31st of February, or a year beyond all calendars
    raise InvalidArgument(f"not a time: {shown(text)}", hint=_HINT)


def _parse(text: str, now: int) -> int | None:
    if _DURATION.fullmatch(text):
        return now - sum(_scaled(whole, part, _UNITS[unit]) for whole, part, unit in _AMOUNT.findall(text))
    if match := _SECONDS.fullmatch(text):
        return _scaled(match[1], match[2] or "", SECOND)
    if match := _DATE.fullmatch(text):
        return _parse_date(match)
    return None


def _scaled(whole: str, fraction: str, unit: int) -> int:
    """Return a decimal number of units in nanoseconds."""
    nanoseconds: int = int(f"{whole}{fraction}") * unit // 10 ** len(fraction)
    return nanoseconds


def _parse_date(match: re.Match[str]) -> int:
    date, minutes, seconds, fraction, zone = match.groups()
    # Python 3.10 reads no "Z"; the fraction is longer than any version keeps.
    offset = (zone or "").upper().replace("Z", "+00:00")
    moment = datetime.fromisoformat(f"{date}T{minutes or '00:00'}{seconds or ':00'}{offset}")
    return nanoseconds(moment if zone else moment.astimezone()) + int(f"{(fraction or '')[:9]:0<9}")
