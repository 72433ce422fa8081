"""What only looks like a shim, a logger or a command in flight: a process of another user. Real: the processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec import DeadlineExceeded
from pluginexec.cleanup.inflight import InFlightCommands
from pluginexec.cleanup.loggers import end_loggers
from pluginexec.cleanup.shims import find_shims
from pluginexec.root.plugin_files import PluginFiles
from tests.support.harness import PATIENCE

NOBODY = 65534
SHIM = ["containerd-shim-runc-v2", "-c", "echo up; read x", "-namespace", "n", "-id", "x", "-address", "a"]
DELETION = ["ctr", "-c", "echo up; read x", "--address", "a", "containers", "rm", "x"]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process as another user, or as this one; all are ended."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(argv: list[str], program: str, user: int | None = NOBODY, **environment: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, executable=program, user=user, stdin=pipe, stdout=pipe, env=environment)
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_only_a_shim_of_this_user_is_one(start: Start, directory: Path) -> None:
    program = shutil.copy(os.path.realpath("/bin/sh"), directory / "containerd-shim-runc-v2")
    start(SHIM, program)
    assert not list(find_shims("a"))
    ours = start(SHIM, program, user=None)
    assert [shim.pid for shim in find_shims("a")] == [ours.pid]


def test_only_a_logger_of_this_user_is_one(start: Start, directory: Path) -> None:
    files = PluginFiles(directory / "x")
    files.make({})
    files.directory.chmod(0o755)
    files.config.chmod(0o644)
    script = ["sh", "-c", "exec 5<$0; echo up; read x", str(files.config)]
    theirs = start(script, "/bin/sh", CONTAINER_ID="x")
    ours = start(script, "/bin/sh", user=None, CONTAINER_ID="x")
    end_loggers(files)
    assert ours.wait(PATIENCE) == -9
    assert theirs.poll() is None


def test_only_a_command_of_this_user_is_waited_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.cleanup.inflight.IN_FLIGHT_TIMEOUT", 0.1)
    start(DELETION, "/bin/sh")
    InFlightCommands(["--address", "a"]).wait("x")
    ours = start(DELETION, "/bin/sh", user=None)
    commands = InFlightCommands(["--address", "a"])
    with pytest.raises(DeadlineExceeded, match=f"pid {ours.pid}"):
        commands.wait("x")
