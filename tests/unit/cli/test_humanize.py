"""Sizes, durations and states as docker formats them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pluginexec.cli.humanize import human_duration, human_size, human_status, now


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *(
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (12_345_678, "11.77MiB"),
            (1 << 30, "1GiB"),
            (1 << 70, "1024EiB"),
        ),
    ],
)
def test_sizes_are_dockers(size: int, text: str) -> None:
    assert human_size(size) == text


MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-5, "Less than a second"), (0.9, "Less than a second"), (1.9, "1 second"), (59.9, "59 seconds")),
        *((MINUTE, "About a minute"), (2 * MINUTE - 1, "About a minute"), (2 * MINUTE, "2 minutes")),
        *((HOUR - 1, "59 minutes"), (HOUR, "About an hour"), (1.49 * HOUR, "About an hour"), (1.5 * HOUR, "2 hours")),
        *((47 * HOUR, "47 hours"), (48 * HOUR, "2 days"), (13.9 * DAY, "13 days"), (14 * DAY, "2 weeks")),
        *((59 * DAY, "8 weeks"), (60 * DAY, "2 months"), (729 * DAY, "24 months"), (730 * DAY, "2 years")),
    ],
)
def test_durations_are_dockers(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_states_are_dockers() -> None:
    ago = now() - timedelta(minutes=5, seconds=1)
    assert human_status("created") == "Created"
    assert human_status("running", started_at=ago) == "Up 5 minutes"
    assert human_status("paused", started_at=ago) == "Up 5 minutes (Paused)"
    assert human_status("exited", exit_code=3, finished_at=ago) == "Exited (3) 5 minutes ago"
    assert human_status("exited", exit_code=0, finished_at=ago, started_at=ago) == "Exited (0) 5 minutes ago"
    assert human_status("restarting", exit_code=1, finished_at=ago) == "Restarting (1) 5 minutes ago"
    assert human_status("exited") == "Exited (unknown)"
