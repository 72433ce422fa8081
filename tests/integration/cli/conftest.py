"""Fixtures: the installed console script, as a user runs it, on the tests' containerd and a root of the test's own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd
from tests.support.harness import PATIENCE
from tests.support.probe import environment, pluginexec

Spawn = Callable[..., "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def lines(self) -> list[str]:
        """What it printed, line by line."""
        return self.out.decode().splitlines()


Px = Callable[..., Done]


def finish(process: subprocess.Popen[bytes]) -> Done:
    """Wait for the end of a command, and return what it printed."""
    out, err = process.communicate(timeout=2 * PATIENCE)
    return Done(process.returncode, out, err)


@pytest.fixture
def globals(containerd: Containerd, root_dir: Path) -> list[str]:
    """What is said before the command."""
    return ["--root", str(root_dir), "--address", containerd.address]


@pytest.fixture
def spawn(clean_namespace: None) -> Iterator[Spawn]:
    """Start ``pluginexec`` with pipes, without globals; what a test leaves running is ended."""
    started: list[subprocess.Popen[bytes]] = []

    def spawn(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        options = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "env": environment(), **options}
        started.append(subprocess.Popen(pluginexec(*arguments), **options))
        return started[-1]

    yield spawn
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with process:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def start(spawn: Spawn, globals: list[str]) -> Spawn:
    """Start a command on the test's root and containerd, and do not wait."""
    return lambda *arguments, **options: spawn(*globals, *arguments, **options)


@pytest.fixture
def px(start: Spawn) -> Px:
    """Run a command on the test's root and containerd to its end."""
    return lambda *arguments, **options: finish(start(*arguments, **options))


@pytest.fixture
def detached(px: Px, rootfs: Path, new_id: Callable[[], str]) -> Callable[..., str]:
    """Run a plugin of a shell script in the background; return its id."""

    def run(script: str, *options: object) -> str:
        done = px("run", "-d", "--name", new_id(), *options, "--rootfs", rootfs, "--", "sh", "-c", script)
        assert done.code == 0, done.err
        return done.out.decode().strip()

    return run
