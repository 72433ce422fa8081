"""``pluginexec pause`` and ``unpause`` as a user runs them. Real: the commands, containerd, plugins, the freezer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pluginexec import Containerd
from pluginexec.linux.cgroups import is_paused
from tests.support.harness import wait_until
from tests.support.plugins import Plugins, command_line, finished

Command = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def pluginexec(root_dir: Path, containerd: Containerd) -> Command:
    return lambda *arguments: finished(command_line(root_dir, containerd.address, *arguments))


def paused(id: str) -> bool | None:
    return is_paused(f"/pluginexec/{id}")


def test_a_paused_plugin_stands_still_and_an_unpaused_one_runs(plugins: Plugins, pluginexec: Command) -> None:
    id, other = plugins.run("while :; do :; done"), plugins.run()
    assert pluginexec("pause", id, other) == (0, [id, other], "")
    process = psutil.Process(plugins.records.state(id).pid)
    used = process.cpu_times()
    assert paused(id)
    assert paused(other)
    assert process.cpu_times() == used
    assert pluginexec("unpause", id) == (0, [id], "")
    assert paused(id) is False
    assert paused(other)
    wait_until(lambda: process.cpu_times() != used, "more CPU time")


def test_each_that_cannot_be_paused_is_one_line_and_the_others_are_paused(
    plugins: Plugins, pluginexec: Command
) -> None:
    id, stopped, last = plugins.run(), plugins.create(), plugins.run()
    assert pluginexec("pause", last)[0] == 0
    code, printed, stderr = pluginexec("pause", "nope", stopped, last, id)
    assert (code, printed) == (125, [id])
    missing, created, again = stderr.splitlines()
    assert "no such plugin: 'nope'" in missing
    assert created.startswith(f"pluginexec: pause '{stopped}': it is not running")
    assert again == f"pluginexec: pause '{last}': it is already paused"
    assert paused(id)


def test_what_is_not_paused_cannot_be_unpaused(plugins: Plugins, pluginexec: Command) -> None:
    id = plugins.run()
    assert pluginexec("unpause", id) == (125, [], f"pluginexec: unpause '{id}': it is not paused\n")


@pytest.mark.parametrize("command", [("stop", "-t", 60), ("kill", "-s", "TERM"), ("kill", "-s", 15)])
def test_what_is_to_end_a_paused_plugin_resumes_it(
    plugins: Plugins, pluginexec: Command, command: tuple[object, ...]
) -> None:
    id = plugins.run("trap 'exit 33' TERM; echo; while :; do sleep 0.05; done", log_driver="raw")
    wait_until((plugins.records.directory(id) / "stdout.log").read_bytes, "the trap")
    assert pluginexec("pause", id)[0] == 0
    assert pluginexec(*command, id) == (0, [id], "")
    assert pluginexec("wait", id) == (0, ["33"], "")


def test_a_paused_plugin_is_removed_by_force(plugins: Plugins, pluginexec: Command) -> None:
    id = plugins.run()
    assert pluginexec("pause", id)[0] == 0
    assert pluginexec("rm", "-f", id) == (0, [id], "")


def test_a_signal_that_is_not_to_end_it_leaves_a_plugin_paused(plugins: Plugins, pluginexec: Command) -> None:
    id = plugins.run()
    assert pluginexec("pause", id)[0] == 0
    assert pluginexec("kill", "-s", "USR1", id) == (0, [id], "")
    assert paused(id)


@pytest.mark.parametrize("name", ["pause", "unpause"])
def test_help_says_what_it_does_and_an_id_must_be_given(pluginexec: Command, name: str) -> None:
    code, printed, _ = pluginexec(name, "--help")
    assert code == 0
    assert "Prints each ID." in " ".join(printed)
    assert pluginexec(name)[0] == 125
