"""The cgroups of real containers. Real: containerd and the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec.containerd.client import Client
from pluginexec.linux.cgroups import (
    cgroups_path_of,
    is_paused,
    oom_killed,
)
from pluginexec.root.root import Root
from pluginexec.types import TaskState
from tests.support.containers import run, wait_for_state

LIMIT = 32 << 20


@pytest.fixture
def root(root_dir: Path) -> Iterator[Root]:
    """A locked root directory."""
    root = Root(root_dir)
    yield root
    root.close()


Shell = Callable[..., dict[str, Any]]


@pytest.mark.usefixtures("clean_namespace")
@pytest.mark.parametrize(
    ("script", "limit", "expected"),
    [
        pytest.param("exec tail /dev/zero", LIMIT, True, id="the init process exceeds its limit"),
        pytest.param("tail /dev/zero; exit 0", LIMIT, True, id="a child does, and the init process goes on"),
        pytest.param("exit 137", LIMIT, False, id="it keeps to its limit"),
        pytest.param("kill -KILL $$; exit 1", None, False, id="it has no limit"),
    ],
)
def test_a_stopped_container_shows_whether_it_exceeded_its_memory(
    client: Client, root: Root, id: str, shell: Shell, script: str, limit: int | None, expected: bool
) -> None:
    spec = shell(id, script)
    if limit:
        spec["linux"]["resources"]["memory"] = {"limit": limit, "swap": limit}
    run(client, root, id, spec)
    wait_for_state(client, id, TaskState.STOPPED)
    assert oom_killed(spec["linux"]["cgroupsPath"]) is expected


@pytest.mark.usefixtures("clean_namespace")
def test_a_paused_container_shows_as_paused(client: Client, root: Root, id: str, shell: Shell) -> None:
    spec = shell(id, "exec sleep 1000")
    path = cgroups_path_of(spec)
    run(client, root, id, spec)
    assert is_paused(path) is False
    client.pause(id)
    assert is_paused(path) is True
    client.resume(id)
    assert is_paused(path) is False
    client.delete_task(id, force=True)
    assert is_paused(path) is None
