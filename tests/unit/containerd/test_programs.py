"""Where a program is, and which version it reports. Real: the programs, which are scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pluginexec.containerd.programs import Program, find_program


def test_a_program_is_found_with_the_version_that_it_reports_if_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (
        ("good", "echo good example.com/x/1.5 v2.10.3-rc1"),
        ("mute", ":"),
        ("bad", "echo 1.2; exit 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_program("good") == Program("good", f"{tmp_path}/good", "v2.10.3-rc1")
    assert find_program("mute").version == find_program("bad").version == ""
    assert find_program("nope") == Program("nope", None, "")
