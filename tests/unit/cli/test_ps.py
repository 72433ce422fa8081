"""The filters of ``pluginexec ps``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "colour=red",
            "unknown filter 'colour=red': use KEY=VALUE with one of id, name, ancestor, label, status, exited",
        ),
        ("status", "unknown filter 'status': use KEY=VALUE with one of id, name, ancestor, label, status, exited"),
        ("status=happy", "invalid filter status='happy': use one of created, running, paused"),
        ("exited=x", "invalid filter exited='x': use a number"),
    ],
)
def test_a_filter_that_is_not_known_is_refused(call: Call, tmp_path: Path, text: str, message: str) -> None:
    code, stdout, stderr = call("--root", tmp_path, "ps", "-f", text)
    assert (code, stdout) == (125, "")
    assert stderr.startswith(f"pluginexec: {message}")
