"""The smoke test where it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec.daemon.target import Target
from pluginexec.doctor import smoke_test
from pluginexec.doctor.check import FAILURE, WARNING
from pluginexec.doctor.smoke_test import NotTried, run_tiny_plugin
from tests.support.embedded import NOBODY
from tests.support.layouts import one_directory


def test_where_there_is_no_program_or_no_place_for_it_it_is_not_tried(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke_test, "tiny_program", lambda machine: None)
    with pytest.raises(NotTried, match="no tiny program for"):
        run_tiny_plugin(NOBODY, one_directory(root))
    monkeypatch.undo()
    monkeypatch.setattr(smoke_test, "_can_execute", lambda directory: False)
    with pytest.raises(NotTried, match="allows programs to be executed"):
        run_tiny_plugin(NOBODY, one_directory(root))
    assert not list(root.iterdir())


def test_a_tiny_plugin_that_fails_is_a_failure_with_what_to_do(
    nowhere: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    check = smoke_test.check_plugin(nowhere)
    assert (check.status, "cannot run 'containerd'" in check.found) == (FAILURE, True)
    assert "install it" in check.remedy


def test_a_tiny_plugin_that_cannot_be_made_is_a_warning(nowhere: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.doctor.smoke_test.tiny_program", lambda machine: None)
    check = smoke_test.check_plugin(nowhere)
    assert (check.status, check.found.startswith("not tried: no tiny program")) == (WARNING, True)
