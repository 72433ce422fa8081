"""A tree with a mount in it is removed up to there.

Real: mounts, as root. No containers.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pluginexec.linux import trees
from pluginexec.linux.mounts import unmount_below


@pytest.mark.parametrize("below", ["tree/a/b/point", "tree"])
def test_what_is_mounted_in_a_tree_stays_and_is_logged_once(
    tmp_path: Path, below: str, caplog: pytest.LogCaptureFixture
) -> None:
    precious, point = tmp_path / "precious", tmp_path / below
    (precious / "directory").mkdir(parents=True)
    (precious / "directory" / "file").touch()
    point.mkdir(parents=True)
    # Of the same file system: its number tells nothing.
    subprocess.run(["mount", "--bind", precious, point], check=True)
    try:
        for name in ("0", "z") if below != "tree" else ():
            (tmp_path / "tree" / name / "inner").mkdir(parents=True)
            (tmp_path / "tree" / name / "inner" / "file").touch()
        assert not trees.remove(tmp_path / "tree")
        assert not trees.remove(tmp_path / "tree")
        assert (precious / "directory" / "file").exists()
        assert caplog.messages == [f"cannot remove all of {tmp_path}/tree: {point.name!r}: Device or resource busy"]
        assert [path.name for path in (tmp_path / "tree").iterdir()] == (["directory"] if below == "tree" else ["a"])
    finally:
        unmount_below(tmp_path)
    assert trees.remove(tmp_path / "tree")
    assert (precious / "directory" / "file").exists()
