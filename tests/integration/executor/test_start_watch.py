"""A plugin's process is held before its first instruction.

Real: containerd, the container, ctr. The runtime waits before it starts the container until the test lets it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor, Remote, Unavailable
from pluginexec.containerd.ctr import Completed, Subprocesses, Watch
from pluginexec.executor.start_watch import StartWatch
from pluginexec.root import PluginFiles
from tests.support.fleet import KERNEL_TELLS_CODES
from tests.support.harness import PATIENCE, held_descriptors

Shell = Callable[..., dict[str, Any]]


class Told(Subprocesses):
    """Makes a file when what watches a command has found what it looks for."""

    def __init__(self, found: Path) -> None:
        self._found = found

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        def look() -> bool:
            found = watch is not None and watch()
            if found:
                self._found.touch()
            return found

        return super().run(argv, timeout, look if watch else None)


def test_a_process_is_held_before_its_first_instruction(
    new_executor: Callable[..., Executor], remote: Remote, tmp_path: Path, id: str, shell: Shell
) -> None:
    runtime, found = tmp_path / "runc", tmp_path / "found"
    waits = f"until [ -e {found} ]; do sleep 0.02; done"
    runtime.write_text(f'#!/bin/sh\ncase " $* " in *" start "*) {waits} ;; esac\nexec runc "$@"\n')
    runtime.chmod(0o755)
    watched = Remote(remote.address, runtime=str(runtime), timeout=PATIENCE, runner=Told(found))
    executor = new_executor(remote=watched)
    executor.create(id, shell(id, "exit 7"))
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


def test_what_cannot_be_held_while_it_starts_is_held_afterwards(
    files: PluginFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = StartWatch(files, {})
    pid = spawn()
    try:
        files.pid.write_text(str(pid))
        with monkeypatch.context() as patch:
            patch.setattr(
                "pluginexec.linux.pidfd.os.pidfd_open", lambda pid: (_ for _ in ()).throw(OSError(24, "no descriptors"))
            )
            assert watch.look()
            with pytest.raises(Unavailable):
                watch.take(pid)
        init = watch.take(pid)
        assert init
        init.close()
    finally:
        end(pid)
