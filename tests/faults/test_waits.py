"""What waits for the end of a plugin waits on while its shim is stopped, or its containerd is away.

Real: the commands, containerd, the plugins and their shims. A plugin's process is killed while its shim is stopped, so
that only the kernel knows of the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pluginexec import Containerd
from pluginexec.cleanup.shims import find_shims
from tests.integration.cli.conftest import Spawn, finish
from tests.integration.cli.conftest import spawn as spawn  # a fixture
from tests.integration.cli.conftest import start as start  # a fixture
from tests.support.harness import suspend, wait_until
from tests.support.plugins import Plugins

WAITING = b"its state cannot be found out now, waiting"


@pytest.fixture
def globals(containerd: Containerd, root_dir: Path) -> list[str]:
    """What is said before the command."""
    return ["--root", str(root_dir), "--state", str(root_dir), "--address", containerd.address]


@pytest.fixture
def stop_shim(containerd: Containerd) -> Iterator[Callable[[str], psutil.Process]]:
    """Stop the shim of a plugin; it goes on in the end."""
    stopped: list[psutil.Process] = []

    def stop(id: str) -> psutil.Process:
        shims = [shim for shim in find_shims(containerd.address) if id in shim.cmdline()]
        stopped.append(suspend(shims[0]))
        return shims[0]

    yield stop
    for shim in stopped:
        if shim.is_running():
            shim.resume()


def printed(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Read what a command says to stderr, to a line with this text."""
    said = b""
    assert process.stderr
    while text not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("command", [("wait",), ("attach", "--no-sig-proxy"), ("logs", "-f")], ids=lambda args: args[0])
def test_a_command_that_waits_for_an_end_waits_on_while_the_shim_is_stopped(
    plugins: Plugins, start: Spawn, stop_shim: Callable[[str], psutil.Process], command: tuple[str, ...]
) -> None:
    id = plugins.run("echo up; exec sleep 1000", log_driver="raw")
    wait_until((plugins.records.directory(id) / "stdout.log").read_bytes, "its output")
    pid = plugins.records.state(id).pid
    shim = stop_shim(id)
    process = start(*command, id)
    if command != ("wait",):
        reads = psutil.Process(process.pid)
        wait_until(lambda: any(file.path.endswith("stdout.log") for file in reads.open_files()), "its look at the log")
    os.kill(pid, signal.SIGKILL)
    printed(process, WAITING)
    assert process.poll() is None
    shim.resume()
    done = finish(process)
    assert done.err.count(WAITING) == 0, "it is said once"
    expected = {"wait": (0, b"137\n"), "attach": (137, b""), "logs": (0, b"up\n")}
    assert (done.code, done.out) == expected[command[0]]


def test_wait_waits_on_while_containerd_is_away(
    plugins: Plugins, start: Spawn, containerd: Containerd, tmp_path: Path
) -> None:
    # The address is a link, which leads nowhere while containerd is away.
    link = tmp_path / "s"
    link.symlink_to(containerd.address)
    id = plugins.run(address=str(link))
    process = start("wait", id)
    link.unlink()
    os.kill(plugins.records.state(id).pid, signal.SIGKILL)
    printed(process, WAITING)
    assert process.poll() is None
    link.symlink_to(containerd.address)
    assert finish(process).out == b"137\n"
