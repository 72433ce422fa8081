"""Moments as docker's ``--since`` and ``--until`` have them: RFC 3339, Unix seconds, or how long ago."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone

from pluginexec.errors import InvalidArgument, shown

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)", re.ASCII)
_DURATION = re.compile(rf"(?:{_AMOUNT.pattern})+", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
# Go's forms: a date alone, minutes, seconds, a fraction of any length; without a zone it is local time.
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?", re.ASCII | re.IGNORECASE
)
_HINT = "give RFC 3339 (2026-11-24T01:02:03Z), Unix seconds, or how long ago (10m, 1h30m)"


def parse_when(text: str, now: datetime | None = None) -> datetime:
    """Return the moment that is meant, aware, in UTC; ``InvalidArgument`` if it is none."""
    now = now or datetime.now(timezone.utc)
    try:
        if _DURATION.fullmatch(text):
            ago = sum(float(amount) * _UNITS[unit] for amount, unit in _AMOUNT.findall(text))
            return now - timedelta(seconds=ago)
        if _SECONDS.fullmatch(text) and math.isfinite(float(text)):
            return datetime.fromtimestamp(float(text), timezone.utc)
        if match := _DATE.fullmatch(text):
            return _parse_date(match).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass  # the 31st of February, or a year beyond all calendars
    raise InvalidArgument(f"{shown(text)} is no time", hint=_HINT)


def _parse_date(match: re.Match[str]) -> datetime:
    date, minutes, seconds, fraction, zone = match.groups()
    # Python 3.10 reads a fraction of six digits only, and no "Z".
    text = f"{date}T{minutes or '00:00'}{seconds or ':00'}.{(fraction or '')[:6]:0<6}"
    return datetime.fromisoformat(text + (zone or "").upper().replace("Z", "+00:00"))
