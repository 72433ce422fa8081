"""A plugin can be stopped, killed and removed though the disk has no free byte, or no free inode.

Real: the file system, a small tmpfs of the test's own; containerd, which lies elsewhere; the plugins and the commands.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd, Executor
from pluginexec.errors import PluginExecError
from pluginexec.linux.mounts import unmount
from pluginexec.linux.pidfd import InitProcess
from tests.support.harness import PATIENCE, wait_until
from tests.support.plugins import Plugins, command_line, finished

KINDS = ["bytes", "inodes"]


@pytest.fixture
def root_dir(tmp_path: Path) -> Iterator[Path]:
    """A root on a small file system of its own."""
    directory = tmp_path / "root"
    directory.mkdir()
    options = "size=4m,nr_inodes=200,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "px-full", directory], check=True, timeout=PATIENCE)
    try:
        yield directory
    finally:
        unmount(str(directory))


def fill(directory: Path, kind: str) -> None:
    """Take all bytes, or all inodes, of the small file system."""
    assert os.statvfs(directory).f_blocks * os.statvfs(directory).f_frsize <= 4 << 20, "not the small one"
    with contextlib.suppress(OSError):
        if kind == "bytes":
            with (directory / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        for number in itertools.count():
            (directory / f"filler-{number}").touch()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (directory / "one-more").write_bytes(bytes(1))
    with contextlib.suppress(FileNotFoundError):
        (directory / "one-more").unlink()


@pytest.fixture
def pluginexec(root_dir: Path, containerd: Containerd) -> Callable[..., tuple[int, list[str], str]]:
    """Run a command to its end."""
    state = ("--state", root_dir)
    return lambda *arguments: finished(command_line(root_dir, containerd.address, *state, *arguments))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", [("stop", "-t", "60"), ("kill", "-s", "TERM"), ("kill",), ("rm", "-f")])
def test_the_commands_end_a_plugin(
    plugins: Plugins, root_dir: Path, pluginexec: Callable[..., Any], kind: str, command: tuple[str, ...]
) -> None:
    id = plugins.run("trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done", log_driver="raw")
    wait_until((plugins.records.directory(id) / "stdout.log").read_bytes, "the trap")
    with plugins.host.held(id) as init:
        assert init
        fill(root_dir, kind)
        assert pluginexec(*command, id) == (0, [id], "")
        wait_until(init.has_ended, "its end")
    if command[0] == "rm":
        assert plugins.records.ids() == []
        return
    assert pluginexec("wait", id) == (0, ["137" if command == ("kill",) else "5"], "")
    assert plugins.records.stopped(id)
    assert plugins.records.state(id).status == "exited"
    fill(root_dir, kind)
    assert pluginexec("rm", id) == (0, [id], "")
    assert not plugins.records.directory(id).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_whose_reserve_is_gone_is_ended_all_the_same(plugins: Plugins, root_dir: Path, kind: str) -> None:
    ids = [plugins.run() for _ in range(2)]
    for id in ids:
        for name in ("not-stopped", "state.json.new"):
            (plugins.records.directory(id) / name).unlink()
        (plugins.host.files(id).directory / "exit.json.new").unlink()
    with plugins.host.held(ids[0]) as first, plugins.host.held(ids[1]) as second:
        assert first
        assert second
        fill(root_dir, kind)
        with contextlib.suppress(PluginExecError):
            plugins.host.stop(ids[0], 0.0)
        plugins.host.remove(ids[1], force=True)
        for init in (first, second):
            wait_until(init.has_ended, "its end")
    assert plugins.records.ids() == [ids[0]]
    for path in root_dir.glob("filler*"):
        path.unlink()
    assert plugins.host.wait(ids[0]).status == "exited"


@pytest.mark.parametrize("kind", KINDS)
def test_an_executor_stops_its_plugin_and_its_exit_is_on_record(
    new_executor: Callable[..., Executor], root_dir: Path, id: str, shell: Callable[..., dict[str, Any]], kind: str
) -> None:
    executor = new_executor()
    executor.create(id, shell(id, "exec sleep 1000"))
    init = InitProcess.open(executor.pid(id))
    assert init
    fill(root_dir, kind)
    status = executor.stop(id, timeout=0.0)
    assert init.has_ended()
    init.close()
    assert status.exit_code == 137
    executor.close()
    assert new_executor().exit_status(id) == status


def test_the_records_stay_whole_json_of_their_own_length(plugins: Plugins) -> None:
    id = plugins.run("exit 3")
    plugins.host.wait(id)
    text = (plugins.records.directory(id) / "state.json").read_text()
    assert json.dumps(json.loads(text)) == text
    assert plugins.host.files(id).read_exit()
