"""What a logger records of the end of its plugin.

Real: the logger, started as a shim starts it, the processes, the kernel. The test stands for the shim and for ``ctr``:
it is the parent of logger and plugin, and writes the pid.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote

import pytest

from pluginexec import ExitStatus, JsonFile
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.streams import end_recorder
from tests.support.fleet import KERNEL_TELLS_CODES
from tests.support.harness import wait_until

Spawn = Callable[[str], "subprocess.Popen[bytes]"]


class Logger:
    """The logger of one plugin; ``close`` ends its streams, as the deletion of a task does."""

    def __init__(self, files: PluginFiles) -> None:
        arguments = JsonFile(files.directory.with_name("log")).arguments(("stdout",), files.config)
        script = unquote(arguments[1].partition("?-c=")[2])
        source, self._sink = os.pipe()
        ready, its_ready = os.pipe()
        # As the shim numbers them: stdout, stderr, and what it waits at.
        numbered = f'exec 3<&{source} 4<&{source} 5>&{its_ready} {source}<&- {its_ready}>&-; exec /bin/sh -c "$0"'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", numbered, script], pass_fds=(source, its_ready), stdin=subprocess.DEVNULL
        )
        os.close(source)
        os.close(its_ready)
        assert os.read(ready, 1)
        os.close(ready)

    def close(self) -> None:
        if self._sink >= 0:
            os.close(self._sink)
            self._sink = -1
        self._process.wait()


@pytest.fixture
def files(tmp_path: Path) -> PluginFiles:
    files = PluginFiles(tmp_path / "x")
    files.make({})
    return files


@pytest.fixture
def logger(files: PluginFiles) -> Iterator[Logger]:
    """A logger that has started, before its plugin does."""
    logger = Logger(files)
    yield logger
    logger.close()


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start shells that first wait for the end of their stdin."""
    children = []

    def start(script: str) -> subprocess.Popen[bytes]:
        children.append(subprocess.Popen(["sh", "-c", f"read line; {script}"], stdin=subprocess.PIPE))
        return children[-1]

    yield start
    for child in children:
        assert child.stdin
        child.kill()
        child.wait()
        child.stdin.close()


def write_pid(files: PluginFiles, pid: int) -> None:
    """Write it as ``ctr`` does, whole at once."""
    files.pid.with_name(".pid").write_text(str(pid))
    files.pid.with_name(".pid").rename(files.pid)


def finish(child: subprocess.Popen[bytes]) -> None:
    """Let a child go on to its end, and reap it, as the shim does."""
    assert child.stdin
    child.stdin.close()
    child.wait()


def is_held(files: PluginFiles) -> bool:
    return (files.directory / "ended.json.new").exists()


def recorded(files: PluginFiles, pid: int) -> ExitStatus:
    wait_until(lambda: (files.directory / "ended.json").exists(), "the record of the end")
    status = files.read_logged_exit(pid)
    assert status
    return status


@pytest.mark.parametrize(("script", "code"), [("exit 42", 42), ("exit 0", 0), ("kill -9 $$", 137), ("exit 255", 255)])
def test_the_time_and_the_code_of_an_end_are_recorded_while_the_output_goes_on(
    files: PluginFiles, logger: Logger, spawn: Spawn, script: str, code: int
) -> None:
    plugin = spawn(script)
    write_pid(files, plugin.pid)
    wait_until(lambda: is_held(files), "the logger to hold it")
    before = datetime.now(timezone.utc)
    finish(plugin)
    after = datetime.now(timezone.utc)
    status = recorded(files, plugin.pid)
    assert status == ExitStatus(code if KERNEL_TELLS_CODES else None, status.exited_at, plugin.pid)
    assert before.replace(microsecond=0) <= status.exited_at
    assert status.exited_at.utcoffset() == after.utcoffset()
    assert not is_held(files)
    assert files.read_logged_exit(plugin.pid + 1) is None


def test_one_that_had_ended_before_it_could_be_held_has_a_time_that_is_an_upper_bound(
    files: PluginFiles, logger: Logger, spawn: Spawn
) -> None:
    plugin = spawn("exit 3")
    finish(plugin)
    write_pid(files, plugin.pid)
    status = recorded(files, plugin.pid)
    assert (status.exit_code, status.exited_at_is_upper_bound) == (None, True)


def test_an_end_that_comes_with_that_of_the_output_is_recorded_too(
    files: PluginFiles, logger: Logger, spawn: Spawn
) -> None:
    plugin = spawn("exit 3")
    write_pid(files, plugin.pid)
    wait_until(lambda: is_held(files), "the logger to hold it")
    finish(plugin)
    logger.close()
    status = files.read_logged_exit(plugin.pid)
    assert status
    assert status.exit_code == (3 if KERNEL_TELLS_CODES else None)


def test_a_process_that_is_no_child_of_the_shim_is_not_taken_for_the_plugin(
    files: PluginFiles, logger: Logger, spawn: Spawn, tmp_path: Path
) -> None:
    """The pid was given to another process."""
    parent = spawn(f"sleep 1000 & echo $! >{tmp_path}/other; wait")
    assert parent.stdin
    parent.stdin.close()
    wait_until(lambda: (tmp_path / "other").exists() and (tmp_path / "other").read_text(), "a grandchild")
    other = int((tmp_path / "other").read_text())
    write_pid(files, other)
    os.kill(other, 9)
    logger.close()
    left = set(os.listdir(files.directory))
    assert left <= {"config.json", "pid", "ended.json", "exit.json.new"}
    # Killed before the logger looked, it is one that has ended; never is its end told as an exact one.
    status = files.read_logged_exit(other)
    assert status is None or status.exited_at_is_upper_bound


def test_a_logger_of_the_last_plugin_does_not_write_into_the_directory_of_the_next(
    files: PluginFiles, logger: Logger, spawn: Spawn
) -> None:
    files.make({})
    plugin = spawn("exit 3")
    write_pid(files, plugin.pid)
    finish(plugin)
    logger.close()
    assert set(os.listdir(files.directory)) == {"config.json", "pid", "exit.json.new"}


def test_a_reader_waits_for_a_logger_that_is_at_it_and_not_for_one_that_is_gone(files: PluginFiles) -> None:
    assert files.read_logged_exit(1) is None
    (files.directory / "ended.json.new").touch()
    assert files.read_logged_exit(1) is None
    files.remove(keep_exit=True)
    assert not files.directory.exists()


@pytest.mark.parametrize(
    ("cgroup", "counter"),
    [
        ("0::/pluginexec/x", "/sys/fs/cgroup/pluginexec/x/memory.events"),
        ("4:memory:/a:b\n0::/", "/sys/fs/cgroup/memory/a:b/memory.oom_control"),
        ("9:cpu,memory:/x\n1:name=systemd:/y", "/sys/fs/cgroup/memory/x/memory.oom_control"),
        ("1:name=systemd:/y", ""),
        ("4:memory:/\n0::/", ""),
        ("", ""),
    ],
)
def test_the_counter_is_that_of_the_memory_cgroup(monkeypatch: pytest.MonkeyPatch, cgroup: str, counter: str) -> None:
    monkeypatch.setattr(end_recorder, "_read", lambda path: cgroup.encode())
    assert end_recorder._oom_counter(1) == counter


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("low 0\noom 3\noom_kill 2\noom_group_kill 0\n", True),
        ("low 0\noom 3\noom_kill 0\noom_group_kill 4\n", False),
        ("oom_kill_disable 0\nunder_oom 1\noom_kill 1\n", True),
        ("", False),
    ],
)
def test_a_count_that_is_not_zero_is_an_oom_kill(tmp_path: Path, text: str, counted: bool) -> None:
    (tmp_path / "counter").write_text(text)
    assert end_recorder._has_counted(str(tmp_path / "counter")) is counted
