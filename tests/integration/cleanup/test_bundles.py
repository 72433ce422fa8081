"""A bundle that containerd has forgotten. Real: containerd, and its directory, in which the tests leave one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, AlreadyExists, Containerd, Executor
from pluginexec.cleanup.bundles import remove_bundle

Shell = Callable[..., dict[str, Any]]


@pytest.fixture
def bundle(containerd: Containerd, id: str) -> Path:
    """What is left where containerd was killed in the first moments of a start."""
    state = Path(containerd.address).parent / "state"
    bundle = state / "io.containerd.runtime.v2.task" / PLUGIN_NAMESPACE / id
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text("{}")
    return bundle


@pytest.fixture
def mounted(bundle: Path) -> Iterator[Path]:
    """A file that is in a file system that is mounted in the bundle."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", bundle / "rootfs"], check=True)
    precious = bundle / "rootfs" / "precious"
    precious.touch()
    yield precious
    subprocess.run(["umount", bundle / "rootfs"], check=True)
    remove_bundle(bundle)


def test_a_bundle_that_was_left_does_not_keep_the_id(executor: Executor, bundle: Path, id: str, shell: Shell) -> None:
    executor.create(id, shell(id, "exit 3"))
    assert executor.wait(id, timeout=30).exit_code == 3


def test_a_bundle_with_something_mounted_in_it_is_left_alone_and_named(
    executor: Executor, bundle: Path, mounted: Path, id: str, shell: Shell
) -> None:
    with pytest.raises(AlreadyExists, match="file exists") as caught:
        executor.create(id, shell(id, "exit 3"))
    assert "restart" in (caught.value.hint or "")
    assert mounted.exists()
    assert executor._client.containers() == []
