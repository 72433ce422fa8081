"""The cgroup of a plugin, whatever form ``linux.cgroupsPath`` has. Real: the console script, containerd, the kernel."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor
from tests.integration.cli.conftest import Px
from tests.support.harness import PATIENCE, Exits

FORMS = ["t{}-rel/x", "t{}.slice:pluginexec:x", "/t{}-abs/x"]


@pytest.fixture(params=FORMS, ids=["relative", "systemd", "absolute"])
def path(request: pytest.FixtureRequest, clean_namespace: None) -> Iterator[str]:
    """A cgroup to ask for; it is removed in the end, with what is above it, because the runtime leaves that."""
    path: str = request.param.format(os.getpid())
    yield path
    first = path.strip("/").partition("/")[0]
    for directory, names, _ in os.walk("/sys/fs/cgroup", topdown=False):
        for name in names:
            if f"/{first}/" in f"{directory}/{name}/":
                with suppress(OSError):
                    os.rmdir(f"{directory}/{name}")


@pytest.fixture
def bundle(tmp_path: Path, path: str, id: str, shell: Any) -> Path:
    """A bundle that asks for that cgroup."""
    spec = shell(id, "while :; do sleep 1; done")
    spec["linux"]["cgroupsPath"] = path
    (tmp_path / "config.json").write_text(json.dumps(spec))
    return tmp_path


@pytest.fixture
def states(px: Px) -> Callable[[], dict[str, str]]:
    """Return the state of each plugin."""
    return lambda: dict(line.split() for line in px("ps", "-a", "--format", "{{.ID}} {{.State}}").lines)


@pytest.mark.usefixtures("clean_namespace")
def test_stats_pause_and_exec_know_the_cgroup_of_each_plugin_of_a_bundle(
    px: Px, bundle: Path, new_id: Callable[[], str], states: Callable[[], dict[str, str]]
) -> None:
    one, two = new_id(), new_id()
    for id in (one, two):
        done = px("run", "-d", "--name", id, bundle)
        assert done.code == 0, done.err
    stats = px("stats", "--no-stream", "--format", "{{.ID}} {{.PIDs}}", one, two).lines
    assert [line.split()[0] for line in stats] == [one, two]
    assert all(int(line.split()[1]) >= 1 for line in stats)
    assert px("pause", one).code == 0
    assert states() == {one: "paused", two: "running"}
    assert b"it is already paused" in px("pause", one).err
    assert b"it is paused" in px("exec", one, "true").err
    assert px("exec", two, "true").code == 0
    assert px("unpause", one).code == 0
    assert states() == {one: "running", two: "running"}
    assert px("rm", "-f", one).code == 0
    assert states() == {two: "running"}
    assert px("rm", "-f", two).code == 0


def test_an_executor_knows_whether_it_was_killed_for_memory(
    executor: Executor, exits: Exits, id: str, path: str, shell: Any
) -> None:
    spec = shell(id, "tail /dev/zero; exit 0")  # only a child is killed, and no event says so later than the exit
    spec["linux"]["cgroupsPath"] = path
    spec["linux"]["resources"]["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
    executor.create(id, spec)
    assert executor.wait(id, PATIENCE).oom_killed
