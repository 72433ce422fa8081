"""Commands that outlived the executor that started them. Real: the processes, by the command lines that they show."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pluginexec.cleanup import inflight as orphans_module
from pluginexec.cleanup.inflight import InFlightCommands
from pluginexec.errors import DeadlineExceeded
from tests.support.harness import PATIENCE, wait_until

# Of this process alone: others may run the same tests at the same time.
FLAGS = ["--address", f"/x/pluginexec-test-{os.getpid()}.sock", "--namespace", "n"]
ROOT = ["--root", f"/x/pluginexec-test-{os.getpid()}"]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes that show some command line and wait; all are ended."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*line: str) -> subprocess.Popen[bytes]:
        # As a script does: its interpreter and itself come first.
        shown = ["sh", "-c", "echo; read x", "ctr", *line]
        processes.append(subprocess.Popen(shown, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stdout = processes[-1].stdout
        assert stdout
        assert stdout.readline() == b"\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def waits(found: InFlightCommands, id: str) -> bool:
    """Tell whether an id is waited for."""
    began = time.monotonic()
    try:
        found.wait(id)
    except DeadlineExceeded:
        return True
    assert time.monotonic() - began < PATIENCE
    return False


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the wait short."""
    monkeypatch.setattr(orphans_module, "IN_FLIGHT_TIMEOUT", 0.2)


@pytest.mark.parametrize(
    "line",
    [
        [*FLAGS, "run", "--detach", "--null-io", "--", "x"],
        [*FLAGS, "tasks", "rm", "--force", "--", "x"],
        [*FLAGS, "containers", "rm", "--", "x"],
        [*ROOT, "delete", "--force", "x"],
    ],
)
def test_what_starts_or_deletes_is_waited_for_and_nothing_of_another_id(
    start: Start, impatient: None, line: list[str]
) -> None:
    start(*line)
    found = InFlightCommands(FLAGS, ROOT)
    assert waits(found, "x")
    assert not waits(found, "y")


@pytest.mark.parametrize(
    "line",
    [
        [*FLAGS, "tasks", "exec", "--exec-id", "e", "--", "x"],
        [*FLAGS, "tasks", "attach", "x"],
        [*FLAGS[:3], "another", "run", "--detach", "--", "x"],
        ["--address", "/x/another.sock", *FLAGS[2:], "run", "--detach", "--", "x"],
        ["--root", "/x/another", "delete", "--force", "x"],
        [*FLAGS],
    ],
)
def test_nobody_waits_for_what_changes_nothing_of_ours(start: Start, impatient: None, line: list[str]) -> None:
    start(*line)
    assert not waits(InFlightCommands(FLAGS, ROOT), "x")


def test_the_wait_ends_with_the_command(start: Start) -> None:
    process = start(*FLAGS, "run", "--detach", "--", "x")
    found = InFlightCommands(FLAGS)
    waiting = threading.Thread(target=found.wait, args=("x",), name="pluginexec-test-wait")
    waiting.start()
    assert waiting.is_alive()
    process.kill()  # a zombie has ended too
    wait_until(lambda: not waiting.is_alive(), "the end of the wait")


def test_a_wait_that_takes_too_long_names_the_process(start: Start, impatient: None) -> None:
    process = start(*FLAGS, "run", "--detach", "--", "x")
    with pytest.raises(DeadlineExceeded, match=str(process.pid)):
        InFlightCommands(FLAGS).wait("x")
