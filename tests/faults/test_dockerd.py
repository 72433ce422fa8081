"""Plugins that a real dockerd made are taken over when it is gone.

Real: Debian's dockerd, a containerd of the test's own, managed plugins with busybox inside, SIGKILLs. Only the socket
of a plugin, which dockerd dials once, is this process's.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, Remote
from pluginexec.containerd.client import Client
from pluginexec.testing.rootfs import make_rootfs
from pluginexec.types import TaskState
from tests.conftest import shims
from tests.support.containers import wait_for_state
from tests.support.dockerd import PLUGINS, Dockerd, running_dockerd
from tests.support.harness import PATIENCE, Buffer, Exits, wait_until

LAST = 5000
LAST_WORDS = "".join(f"{i}\n" for i in range(1, LAST + 1)).encode()
COUNTING = f"""
trap 'seq {LAST}; seq {LAST} >&2; echo last words; echo last complaint >&2; exit 7' TERM
i=0
while :; do i=$((i+1)); echo out $i; echo err $i >&2; sleep 0.01; done
"""


@pytest.fixture
def dockerd(mortal: Containerd) -> Iterator[Dockerd]:
    """A dockerd on the test's containerd; afterwards the machine is as it was."""
    with running_dockerd(mortal) as dockerd:
        yield dockerd


@pytest.fixture
def client(mortal: Containerd) -> Client:
    """A client of the containerd that dockerd uses."""
    return mortal.remote.new_client(PLUGIN_NAMESPACE)


@pytest.fixture
def executor(root_dir: Path, mortal: Containerd, exits: Exits) -> Iterator[Executor]:
    """An executor on that containerd."""
    with Executor(root_dir, mortal.remote, exits) as executor:
        yield executor


@pytest.fixture
def plugin(dockerd: Dockerd) -> str:
    """The id of a plugin that counts on both streams until SIGTERM, and of which a log of dockerd's has the start."""
    id = dockerd.run_plugin("counting", COUNTING, make_rootfs)
    wait_until(lambda: b"out 2" in dockerd.log.read_bytes(), "its output in dockerd's log")
    return id


def numbers(data: bytes, word: str) -> list[int]:
    """Return the numbers of a stream before its last words; every line must be whole."""
    lines = data.partition(b"\n1\n2\n3\n")[0].decode().splitlines()
    assert all(line.startswith(f"{word} ") for line in lines), lines
    return [int(line.removeprefix(f"{word} ")) for line in lines]


def has_none_missing(found: list[int]) -> bool:
    """Tell whether each number is one more than the one before it."""
    return len(found) > 1 and found == list(range(found[0], found[0] + len(found)))


def end(executor: Executor, id: str, exits: Exits, pid: int) -> None:
    """End a plugin by the signal that it expects, and see that its exit is told once and right."""
    executor.signal(id, "TERM")
    status = executor.wait(id, timeout=PATIENCE)
    assert (status.exit_code, status.pid, status.oom_killed) == (7, pid, False)
    executor.close()
    assert [(id, status.exit_code) for id, status in exits.wait_for(1)] == [(id, 7)]


def test_a_plugin_of_a_killed_dockerd_is_taken_over(
    dockerd: Dockerd, plugin: str, executor: Executor, client: Client, exits: Exits, mortal: Containerd
) -> None:
    pid = client.tasks()[plugin].pid
    dockerd.kill()
    assert psutil.Process(pid).is_running()
    stdout, stderr = Buffer(), Buffer()
    assert executor.restore(plugin, stdout, stderr)
    wait_until(lambda: stdout.data.count(b"\n") > 5 and stderr.data.count(b"\n") > 5, "its output on both streams")
    assert executor.is_running(plugin)
    assert client.tasks()[plugin].pid == pid
    end(executor, plugin, exits, pid)
    assert stdout.data.endswith(b"\n" + LAST_WORDS + b"last words\n")
    assert stderr.data.endswith(b"\n" + LAST_WORDS + b"last complaint\n")
    assert has_none_missing(numbers(stdout.data, "out"))
    assert has_none_missing(numbers(stderr.data, "err"))
    assert (stdout.closings, stderr.closings) == (1, 1)
    assert (client.tasks(), client.containers()) == ({}, [])
    wait_until(lambda: not shims(mortal), "the end of its shim")
    assert not list(PLUGINS.glob(f"{plugin}/*-std*"))


def test_nothing_is_lost_between_one_executor_and_the_next(
    dockerd: Dockerd, plugin: str, root_dir: Path, mortal: Containerd, client: Client, exits: Exits
) -> None:
    pid = client.tasks()[plugin].pid
    dockerd.kill()
    parts: list[tuple[Buffer, Buffer]] = []
    for life in range(4):
        executor = Executor(root_dir, mortal.remote, exits)
        stdout, stderr = Buffer(), Buffer()
        parts.append((stdout, stderr))
        assert executor.restore(plugin, stdout, stderr)
        wait_until(lambda: b"\n" in stdout.data and b"\n" in stderr.data, "its output")  # noqa: B023
        if life < 3:
            executor.close()
            assert (stdout.closings, stderr.closings) == (1, 1)
            assert psutil.Process(pid).is_running()
    end(executor, plugin, exits, pid)
    for stream, word in enumerate(("out", "err")):
        whole = b"".join(part[stream].data for part in parts)
        assert has_none_missing(numbers(whole, word))
        assert LAST_WORDS in whole


class Victim:
    """An executor in a process of its own, that takes a plugin over and waits to be ended."""

    SCRIPT = """
        import os, sys, time
        from pluginexec import Executor, Remote

        class Told:
            def write(self, data): os.write(1, b"told\\n")
            def close(self): pass

        root, address, id = sys.argv[1:]
        executor = Executor(root, Remote(address))
        assert executor.restore(id, Told(), None)
        while True:  # Python does not see a signal that comes just before it sleeps
            time.sleep(0.1)
    """

    def __init__(self, root: Path, remote: Remote, id: str) -> None:
        argv = [sys.executable, "-c", textwrap.dedent(self.SCRIPT), str(root), remote.address, id]
        # Its last words are a KeyboardInterrupt's, or of a pipe that we have closed.
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)

    def end(self, number: signal.Signals) -> None:
        """Wait for the plugin's output, then send a signal to its whole process group."""
        with self.process:
            assert self.process.stdout
            try:
                assert self.process.stdout.readline() == b"told\n"
                os.killpg(self.process.pid, number)
                self.process.wait(PATIENCE)
            finally:
                self.process.kill()


def test_a_plugin_outlives_every_signal_that_ends_us(
    dockerd: Dockerd, plugin: str, root_dir: Path, mortal: Containerd, client: Client, exits: Exits
) -> None:
    pid = client.tasks()[plugin].pid
    dockerd.kill()
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        Victim(root_dir, mortal.remote, plugin).end(number)
        assert client.tasks()[plugin].state is TaskState.RUNNING
    with Executor(root_dir, mortal.remote, exits) as executor:
        stdout = Buffer()
        assert executor.restore(plugin, stdout)
        wait_until(lambda: stdout.data.count(b"\n") > 5, "its output")
        assert b"last words" not in stdout.data
        end(executor, plugin, exits, pid)


def test_a_plugin_that_ended_while_nobody_supervised_it_is_cleared_away(
    dockerd: Dockerd, plugin: str, executor: Executor, client: Client, exits: Exits, mortal: Containerd
) -> None:
    pid = client.tasks()[plugin].pid
    dockerd.kill()
    client.kill(plugin, signal.SIGTERM)
    wait_for_state(client, plugin, TaskState.STOPPED)
    stdout, stderr = Buffer(), Buffer()
    assert not executor.restore(plugin, stdout, stderr)
    assert (stdout.closings, stderr.closings) == (1, 1)
    status = executor.exit_status(plugin)
    assert (status.exit_code, status.pid) == (7, pid)
    assert (client.tasks(), client.containers()) == ({}, [])
    wait_until(lambda: not shims(mortal), "the end of its shim")
    executor.close()
    assert exits.ids == []


def test_the_streams_go_on_when_containerd_dies_too(
    dockerd: Dockerd, plugin: str, executor: Executor, client: Client, exits: Exits, mortal: Containerd
) -> None:
    pid, before = client.tasks()[plugin].pid, mortal.pid
    dockerd.kill()
    stdout, stderr = Buffer(), Buffer()
    assert executor.restore(plugin, stdout, stderr)
    assert before
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: mortal.pid not in (None, before), "the next containerd")
    wait_until(mortal.remote.listens, "its socket")
    count = stdout.data.count(b"\n")
    wait_until(lambda: stdout.data.count(b"\n") > count + 5, "more output")
    end(executor, plugin, exits, pid)
    assert stdout.data.endswith(b"\n" + LAST_WORDS + b"last words\n")
    assert has_none_missing(numbers(stdout.data, "out"))
    assert has_none_missing(numbers(stderr.data, "err"))


def test_an_exit_is_told_once_although_a_live_dockerd_reacts_to_it_too(
    dockerd: Dockerd,
    plugin: str,
    executor: Executor,
    client: Client,
    exits: Exits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stdout, stderr = Buffer(), Buffer()
    assert executor.restore(plugin, stdout, stderr)
    # It sends SIGTERM, waits for the exit, and deletes what we delete.
    dockerd.docker("plugin", "disable", "counting")
    assert executor.wait(plugin, timeout=PATIENCE).exit_code == 7
    executor.close()
    assert exits.ids == [plugin]
    assert (stdout.closings, stderr.closings) == (1, 1)
    assert (client.tasks(), client.containers()) == ({}, [])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
