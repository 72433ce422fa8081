"""The directories of a plugin on the host, where nothing can be mounted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pluginexec import PermissionDenied
from pluginexec.linux import mounts
from pluginexec.managed.config import load_config
from pluginexec.managed.directories import PluginDirectories
from tests.unit.managed.test_config import LEAST


def test_a_start_that_cannot_mount_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    user = {"uid": os.getuid(), "gid": os.getgid()}
    config = load_config({**LEAST, "propagatedmount": "/mnt", "user": user})
    monkeypatch.setattr(mounts, "mount", refuse)
    with pytest.raises(PermissionDenied, match="cannot be prepared: Operation not permitted"):
        PluginDirectories(tmp_path / "x").prepare(config)
    assert not (tmp_path / "x").exists()
