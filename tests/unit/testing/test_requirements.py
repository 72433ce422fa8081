"""Why a machine cannot run containers, as far as that needs no container."""

from __future__ import annotations

import os

import pytest

from pluginexec.testing.options import Settings
from pluginexec.testing.requirements import missing_requirement

SETTINGS = Settings(None, False, None, 30.0, False)


def test_a_user_other_than_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing_requirement(SETTINGS) == "user 1000, not root: run as root, for example with sudo"
