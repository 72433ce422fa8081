"""The default spec beside the one of the installed ``ctr``. No containerd runs."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec.oci.spec import default_spec

Spec = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_reading_without_end() -> Iterator[None]:
    """End a test that hangs: several are about files that could be read for ever."""
    was = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("this hangs"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, was)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    path = tmp_path / "bundle" / "rootfs"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def spec(rootfs: Path) -> Spec:
    return {
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "env": ["A=1"], "terminal": False},
        "root": {"path": str(rootfs)},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"cgroupsPath": "/x/y", "namespaces": [{"type": "mount"}]},
        "hooks": {"prestart": [{"path": "/bin/true"}]},
        "annotations": {"org.example": "é"},
    }


@pytest.fixture
def bundle(rootfs: Path, spec: Spec) -> Path:
    write(rootfs.parent, spec, root="rootfs")
    return rootfs.parent


def write(bundle: Path, spec: Spec, *, root: str) -> None:
    (bundle / "config.json").write_text(json.dumps({**spec, "root": {"path": root}}))


# The default spec


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
