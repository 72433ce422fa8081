"""``pluginexec info`` as a user runs it. Real: the command, containerd, plugins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, __version__
from tests.support.embedded import NOBODY, own_address, running, short_root
from tests.support.plugins import Plugins, command_line, finished


@pytest.fixture
def root(no_leaks: None) -> Iterator[Path]:
    with short_root() as root:
        yield root


def info(root: Path, address: str) -> dict[str, Any]:
    code, (line,), stderr = finished(command_line(root, address, "info", "--format", "json"))
    assert (code, stderr) == (0, "")
    found: dict[str, Any] = json.loads(line)
    return found


def test_it_shows_what_is_used_and_counts_the_plugins(
    clean_namespace: None, containerd: Containerd, root_dir: Path, new_id: Callable[[], str], shell: Any
) -> None:
    plugins = Plugins(root_dir, containerd.address, new_id, shell)
    frozen = plugins.run()
    plugins.run()
    plugins.create()
    ended = plugins.run("exit 3")
    plugins.host.wait(ended)
    assert finished(command_line(root_dir, containerd.address, "pause", frozen))[0] == 0
    found = info(root_dir, containerd.address)
    assert (found["running"], found["paused"], found["stopped"]) == (1, 1, 2)
    assert (found["version"], found["root"], found["namespace"]) == (__version__, str(root_dir), PLUGIN_NAMESPACE)
    assert (found["address"], found["private"], found["listening"]) == (containerd.address, False, True)
    assert found["containerd_version"] == containerd.remote.new_client("default").server_version()
    assert (found["kernel"], found["log_driver"], found["serve"]) == (os.uname().release, "json-file", False)
    assert found["cgroup_version"] in (1, 2)
    assert found["ctr_version"]
    assert found["runc_version"]


def test_where_nothing_listens_it_names_the_private_one_and_starts_nothing(root: Path) -> None:
    found = info(root, own_address(root))
    assert (found["address"], found["private"]) == (f"{root}/containerd/containerd.sock", True)
    assert (found["listening"], found["containerd_version"]) == (False, "")
    assert not running(root)
    assert not list(root.iterdir())


def test_people_get_a_line_for_each_and_templates_choose(containerd: Containerd, root: Path) -> None:
    argv = command_line(root, containerd.address, "info")
    code, lines, stderr = finished(argv)
    assert (code, stderr) == (0, "")
    assert f"Address: {containerd.address}" in lines
    assert "Serve runs: false" in lines
    assert finished([*argv, "-f", "{{.Root}} {{.Running}}"]) == (0, [f"{root} 0"], "")
    code, lines, stderr = finished([*argv, "--format", "{{.Nope}}"])
    assert (code, lines, "unknown field" in stderr) == (125, [], True)


def test_an_address_that_was_given_is_not_replaced_by_the_private_one(containerd: Containerd, root: Path) -> None:
    (root / "containerd").symlink_to(Path(containerd.address).parent)
    try:
        found = info(root, NOBODY)
    finally:
        (root / "containerd").unlink()
    assert (found["address"], found["private"], found["listening"]) == (NOBODY, False, False)


def test_a_root_too_long_for_a_private_one_is_no_obstacle(tmp_path: Path) -> None:
    found = info(tmp_path / ("x" * 100), NOBODY)
    assert (found["address"], found["private"]) == (NOBODY, False)
