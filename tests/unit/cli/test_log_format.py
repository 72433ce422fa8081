"""The log on stderr, as text and as JSON."""

from __future__ import annotations

import json
import logging
from typing import Any

from tests.unit.cli.conftest import Call


def log_messages(settings: Any) -> None:
    log = logging.getLogger("pluginexec.x")
    log.debug("small")
    log.warning("great\n\x1b[1m")
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("odd")


def test_the_log_shows_warnings_as_lines_and_more_with_debug(probe: Call) -> None:
    lines = ["pluginexec: great \\x1b[1m", "pluginexec: odd: ValueError: bad"]
    assert probe(log_messages)[2].splitlines() == lines
    shown = probe(log_messages, "--debug")[2].splitlines()
    assert shown[0] == "pluginexec: debug: small"
    assert shown[1:3] == lines
    assert shown[3].startswith("Traceback")


def test_the_log_is_one_object_per_line_with_json(probe: Call) -> None:
    shown = [json.loads(line) for line in probe(log_messages, "--log-format", "json", "--debug")[2].splitlines()]
    assert [(each["level"], each["msg"]) for each in shown] == [
        *(("debug", "small"), ("warning", "great \\x1b[1m"), ("error", "odd: ValueError: bad")),
    ]
    assert all(each["time"].endswith("Z") for each in shown)
    assert "traceback" in shown[2]
