"""A plugin's process is held before its first instruction.

Real: containerd, the container, ctr. The runtime waits before it starts the container until the test lets it.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor, Remote, Unavailable
from pluginexec.containerd.ctr import Completed, Subprocesses, Watch
from pluginexec.executor.start_watch import StartWatch, cgroup_of_held
from pluginexec.linux.cgroups import cgroup_of
from pluginexec.linux.pidfd import InitProcess
from pluginexec.root.plugin_files import PluginFiles
from tests.support.fleet import KERNEL_TELLS_CODES
from tests.support.harness import PATIENCE, held_descriptors, wait_until

Shell = Callable[..., dict[str, Any]]


def is_held(pid: str) -> bool:
    """Return whether this process has a pidfd of another."""
    for info in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):
            if f"\nPid:\t{pid}\n" in info.read_text():
                return True
    return False


class Told(Subprocesses):
    """Makes a file when the process that a pid file names is held."""

    def __init__(self, pid_file: Path, held: Path) -> None:
        self._pid_file = pid_file
        self._held = held

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        def look() -> bool:
            found = watch is not None and watch()
            if found and self._pid_file.exists() and is_held(self._pid_file.read_text()):
                self._held.touch()
            return found

        return super().run(argv, timeout, look if watch else None)


def test_a_process_is_held_before_its_first_instruction(
    new_executor: Callable[..., Executor], remote: Remote, tmp_path: Path, root_dir: Path, id: str, shell: Shell
) -> None:
    runtime, held = tmp_path / "runc", tmp_path / "held"
    waits = f"for try in $(seq 300); do [ -e {held} ] && break; sleep 0.1; done"
    runtime.write_text(f'#!/bin/sh\ncase " $* " in *" start "*) {waits} ;; esac\nexec runc "$@"\n')
    runtime.chmod(0o755)
    watched = Remote(
        remote.address, runtime=str(runtime), timeout=PATIENCE, runner=Told(root_dir / "containers" / id / "pid", held)
    )
    executor = new_executor(remote=watched)
    executor.create(id, shell(id, "exit 7"))
    assert held.exists()
    assert executor.wait(id, PATIENCE).exit_code == 7


@pytest.fixture
def files(tmp_path: Path) -> PluginFiles:
    files = PluginFiles(tmp_path / "x")
    files.make({})
    return files


def spawn(script: str = "exec sleep 1000") -> int:
    """Start a child that is reaped with ``end``."""
    return os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", script)


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_nothing_is_held_before_the_pid_is_written(files: PluginFiles) -> None:
    watch = StartWatch(files, {})
    assert not watch.look()
    pid = spawn()
    try:
        files.pid.write_text(str(pid))
        assert watch.look()
    finally:
        end(pid)
    init = watch.take(pid)
    assert init
    assert init.exit_code() == (137 if KERNEL_TELLS_CODES else None)
    init.close()


def test_a_process_that_is_older_than_the_create_is_not_the_one(files: PluginFiles) -> None:
    files.pid.write_text("1")
    watch = StartWatch(files, {})
    assert watch.look()
    assert watch.take(1) is None


def test_a_failed_start_lets_go_and_the_next_is_watched_anew(files: PluginFiles) -> None:
    before = held_descriptors()
    watch = StartWatch(files, {})
    first, second = spawn(), spawn()
    try:
        files.pid.write_text(str(first))
        assert watch.look()
        watch.close()
        assert held_descriptors() == before
        files.make({})
        assert not watch.look()
        files.pid.write_text(str(second))
        assert watch.look()
        init = watch.take(second)
        assert init
        assert init.pid == second
        init.close()
    finally:
        end(first)
        end(second)


def test_of_a_process_that_has_ended_the_cgroup_is_what_the_spec_asked_for() -> None:
    """In v1 the kernel lists it in the root until it is reaped, in v2 where it was."""
    spec = {"linux": {"cgroupsPath": "/a/b"}}
    pid = spawn()
    init = InitProcess.open(pid)
    try:
        assert init
        assert cgroup_of_held(init, spec) == cgroup_of(pid, spec) != "/a/b"
        os.kill(pid, signal.SIGKILL)
        wait_until(init.has_ended, "its end")
        assert cgroup_of_held(init, spec) == "/a/b"
        init.close()
    finally:
        end(pid)


def out_of_descriptors(pid: int) -> int:
    raise OSError(errno.EMFILE, "too many open files")


def test_what_cannot_be_held_while_it_starts_is_held_afterwards(
    files: PluginFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = StartWatch(files, {})
    pid = spawn()
    try:
        files.pid.write_text(str(pid))
        with monkeypatch.context() as patch:
            patch.setattr("pluginexec.linux.pidfd.os.pidfd_open", out_of_descriptors)
            assert watch.look()
            with pytest.raises(Unavailable):
                watch.take(pid)
        init = watch.take(pid)
        assert init
        init.close()
    finally:
        end(pid)
