"""Whether the OOM killer was at work. Real: containerd, containers with and without a memory limit, the cgroups."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import cgroups
from pluginexec.cgroups import oom_killed, remove_cgroups
from pluginexec.client import Client
from pluginexec.root import Root
from pluginexec.types import TaskState
from tests.tools.containers import run, wait_for_state

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


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", id="none"),
        pytest.param("pluginexec/x", id="relative to something that only the runtime knows"),
        pytest.param("system.slice:pluginexec:x", id="systemd's form"),
        pytest.param("/no-such-cgroup", id="unknown"),
        pytest.param("/no\0such", id="nul"),
        pytest.param("/no-such-\udcff", id="not UTF-8"),
        pytest.param("/" + "x" * 5000, id="too long"),
    ],
)
def test_a_path_that_leads_nowhere_tells_nothing(path: str) -> None:
    assert oom_killed(path) is None


@pytest.fixture(params=["memory/{}/memory.oom_control", "{}/memory.events"], ids=["v1", "v2"])
def fake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make the counter of a cgroup, of either version, under a mount point of the test's own."""
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path / "up" / "mount")

    # An unresolved ".." leads out only where what stands before it is there.
    (tmp_path / "up" / "mount" / request.param.format("a")).parent.mkdir(parents=True)

    def make(cgroup: str, content: str) -> None:
        file = Path(os.path.normpath(tmp_path / "up" / "mount" / request.param.format(cgroup)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode("latin-1"))

    return make


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("low 0\noom 3\noom_kill 2\noom_group_kill 0\n", True, id="two"),
        pytest.param("low 0\noom 3\noom_kill 0\noom_group_kill 4\n", False, id="none"),
        pytest.param("oom_kill_disable 0\nunder_oom 1\n", None, id="a kernel before 4.13, which does not count"),
        pytest.param("", None, id="empty"),
        pytest.param("oom_kill \xe9\n", None, id="garbage"),
    ],
)
def test_the_counter_of_kills_is_what_counts(fake: Callable[[str, str], None], content: str, expected: object) -> None:
    fake("a/b", content)
    assert oom_killed("/a/b") is expected


@pytest.mark.parametrize("path", ["/../outside", "/a/../../outside", "//../outside", "/a/../../../mount/../outside"])
def test_a_path_cannot_lead_out_of_the_cgroups(fake: Callable[[str, str], None], path: str) -> None:
    fake("../outside", "oom_kill 1\n")
    fake("../../outside", "oom_kill 1\n")
    assert oom_killed(path) is None


def test_only_empty_cgroups_of_that_path_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_MOUNT", tmp_path)
    for name in ("memory/pluginexec/x", "pids/pluginexec/x/inner", "pluginexec/x", "memory/pluginexec/y"):
        (tmp_path / name).mkdir(parents=True)
    for path in ("/pluginexec/x", "", "/", "pluginexec/y", "/no/such\0path"):
        remove_cgroups(path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        "memory",
        "memory/pluginexec",
        "memory/pluginexec/y",
        "pids",
        "pids/pluginexec",
        "pids/pluginexec/x",
        "pids/pluginexec/x/inner",
        "pluginexec",
    }
