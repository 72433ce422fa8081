"""What is not a bundle is refused, and leaves nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pluginexec import InvalidArgument
from pluginexec.managed.bundle import unpack
from tests.unit.managed.test_config import LEAST

CONFIG = json.dumps(LEAST).encode()


def test_what_is_no_bundle_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    def no_config(path: Path) -> None:
        (path / "rootfs").mkdir(parents=True)

    def no_rootfs(path: Path) -> None:
        path.mkdir()
        (path / "config.json").write_bytes(CONFIG)

    def bad_config(path: Path) -> None:
        no_config(path)
        (path / "config.json").write_text("{}")

    for number, (make, says) in enumerate(
        [
            (no_config, "has no config.json at its top"),
            (no_rootfs, "has no rootfs/ at its top"),
            (bad_config, "entrypoint is empty"),
            (lambda path: path.write_bytes(b"no tar" * 1000), "is neither a directory nor a valid tar"),
            (lambda path: path.write_bytes(b""), "is neither a directory nor a valid tar"),
            (lambda path: None, "no such file or directory"),
        ]
    ):
        source = tmp_path / f"source-{number}"
        make(source)
        with pytest.raises(InvalidArgument, match=says) as raised:
            unpack(source, tmp_path / "target" / "here")
        assert str(source) in str(raised.value)
        assert not list((tmp_path / "target").iterdir())


@pytest.mark.parametrize("source", ["", 3, None, b"/tmp"])
def test_what_is_no_path_is_refused(source: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not the path of a directory or a tar"):
        unpack(source, tmp_path / "target")
    assert os.listdir(tmp_path) == []
