"""What an exec asks of the OCI runtime.

Real: the spec; ``tests/integration/cli/test_exec.py`` shows it in a running plugin.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from pluginexec.containerd.runc import Command
from pluginexec.oci.default_spec import default_spec


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "rootfs").mkdir()
    return default_spec(tmp_path / "rootfs", ["its", "own"], id="x", env=["A=1", "B=1"])


def test_all_that_is_not_given_is_as_for_the_plugin(spec: dict[str, Any]) -> None:
    before = copy.deepcopy(spec)
    process = Command(("ls", "-l")).process(spec)
    assert process == {**spec["process"], "args": ["ls", "-l"], "terminal": False}
    process["capabilities"]["bounding"].clear()
    assert spec == before


def test_what_is_given_is_taken_and_a_umask_stays(spec: dict[str, Any]) -> None:
    spec["process"]["user"]["umask"] = 0o77
    process = Command(("ls",), env=("B=2", "C"), workdir="/tmp", user="5:6").process(spec, {"C": "here"})
    assert process["env"][1:] == ["A=1", "B=2", "C=here"]
    assert process["cwd"] == "/tmp"
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [6], "umask": 0o77}
