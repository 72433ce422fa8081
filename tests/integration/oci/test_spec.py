"""The default spec beside the one of the installed ``ctr``. No containerd runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pluginexec.oci.default_spec import default_spec

Spec = dict[str, Any]


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    path = tmp_path / "bundle" / "rootfs"
    path.mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def containerds() -> Spec:
    """What the installed containerd takes for its default."""
    result = subprocess.run(["ctr", "oci", "spec"], stdout=subprocess.PIPE, check=True, timeout=20)
    loaded = json.loads(result.stdout)
    assert isinstance(loaded, dict)
    return loaded


def test_the_default_is_containerds(containerds: Spec, rootfs: Path) -> None:
    ours = default_spec(rootfs, ["/bin/true"], id="p")
    for key in ("capabilities", "rlimits", "noNewPrivileges", "user", "cwd"):
        assert ours["process"][key] == containerds["process"][key], key
    for key in ("namespaces", "resources", "readonlyPaths"):
        assert ours["linux"][key] == containerds["linux"][key], key
    assert ours["mounts"] == containerds["mounts"]
    assert ours.keys() == containerds.keys()


def test_the_default_masks_what_containerd_masks_and_the_power_meter(containerds: Spec, rootfs: Path) -> None:
    masked = default_spec(rootfs, ["/bin/true"], id="p")["linux"]["maskedPaths"]
    # containerd 1.6 does not mask it yet.
    assert set(masked) == {*containerds["linux"]["maskedPaths"], "/sys/devices/virtual/powercap"}
