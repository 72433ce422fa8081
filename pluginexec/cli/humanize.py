"""Sizes, times and durations, formatted as docker does."""

from __future__ import annotations

from datetime import datetime, timezone

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MINUTE = 60
_HOUR = 60 * _MINUTE
_LESS_THAN = (  # limit in seconds, seconds per unit, name of the unit
    (_MINUTE, 1, "seconds"),
    (_HOUR, _MINUTE, "minutes"),
    (48 * _HOUR, _HOUR, "hours"),
    (14 * 24 * _HOUR, 24 * _HOUR, "days"),
    (60 * 24 * _HOUR, 7 * 24 * _HOUR, "weeks"),
    (2 * 365 * 24 * _HOUR, 30 * 24 * _HOUR, "months"),
)


def now() -> datetime:
    """Return the current time in UTC, timezone-aware."""
    return datetime.now(timezone.utc)


def rfc3339(moment: datetime) -> str:
    """Return a timezone-aware time as RFC 3339 in UTC."""
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def human_size(size: float) -> str:
    """Return a number of bytes with four digits and a binary unit: ``12.34MiB``."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.4g}{_UNITS[unit]}"


def human_duration(seconds: float) -> str:
    """Return a duration in one unit: ``5 minutes``, ``About an hour``."""
    if seconds < 1:
        return "Less than a second"
    if int(seconds) == 1:
        return "1 second"
    if _MINUTE <= seconds < 2 * _MINUTE:
        return "About a minute"
    if seconds >= _HOUR:
        seconds = int(seconds / _HOUR + 0.5) * _HOUR  # from here on docker rounds to whole hours
    if seconds == _HOUR:
        return "About an hour"
    for limit, unit, name in _LESS_THAN:
        if seconds < limit:
            return f"{int(seconds / unit)} {name}"
    return f"{int(seconds / (365 * 24 * _HOUR))} years"


def human_status(
    status: str,
    *,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
    exit_code: int | None = None,
) -> str:
    """Return the status of a plugin as docker shows it: ``Up 5 minutes``, ``Exited (3) 2 hours ago``."""
    code = "unknown" if exit_code is None else exit_code
    up = f"Up {_since(started_at)}" if started_at else "Up"
    ago = f"{_since(finished_at)} ago" if finished_at else ""
    words = {
        "running": up,
        "paused": f"{up} (Paused)",
        "restarting": f"Restarting ({code}) {ago}",
        "exited": f"Exited ({code}) {ago}",
    }
    return words.get(status, status.capitalize()).strip()


def _since(moment: datetime) -> str:
    return human_duration((now() - moment).total_seconds())
