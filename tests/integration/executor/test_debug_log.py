"""The log at level DEBUG explains each exit: who noticed it, when, and what was done.

Real: containerd, and ``ctr events``, which is stopped.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from pluginexec import Executor
from tests.support.harness import Buffer, Exits, wait_until

Shell = Callable[..., dict[str, Any]]
WAIT_FOR_TERM = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
END = [
    r"exit recorded \(code 42\)",
    r"container deleted \(\d+ ms\)",
    r"output drained, 6 bytes \(\d+ ms\)",
    "removed",
    r"exit handler called \(\d+ ms\)",
]


@pytest.fixture
def explained(executor: Executor, id: str, shell: Shell, exits: Exits, caplog: pytest.LogCaptureFixture) -> Explained:
    """A plugin of an executor that logs all it does, and that ends with code 42 on SIGTERM."""
    caplog.set_level(logging.DEBUG, "pluginexec.executor")
    return Explained(executor, id, shell(id, WAIT_FOR_TERM), exits, caplog)


class Explained:
    """Runs a plugin to its exit, and finds in the log what happened to it."""

    def __init__(
        self, executor: Executor, id: str, spec: dict[str, Any], exits: Exits, caplog: pytest.LogCaptureFixture
    ) -> None:
        self._executor = executor
        self._id = id
        self._spec = spec
        self._exits = exits
        self._caplog = caplog

    def run(self, before_exit: Callable[[], object] = lambda: None) -> None:
        stdout = Buffer()
        self._executor.create(self._id, self._spec, stdout)
        wait_until(lambda: stdout.data == b"ready\n", "the plugin")
        before_exit()
        self._executor.signal(self._id, "TERM")
        self._exits.wait_for(1)
        wait_until(lambda: "exit handler called" in self._caplog.text, "the last line")

    def find_in_order(self, *patterns: str) -> list[float]:
        """Find these lines about the plugin, each behind the one before; return their times."""
        records = iter([record for record in self._caplog.records if record.levelno == logging.DEBUG])
        times = []
        for pattern in patterns:
            line = re.compile(f"{re.escape(self._id)}: {pattern}")
            found = next((record for record in records if line.fullmatch(record.getMessage())), None)
            assert found, f"{pattern!r} is not behind what is before it in:\n{self._caplog.text}"
            times.append(found.created)
        return times


def test_a_normal_run_shows_each_state_and_that_an_event_reported_the_exit(explained: Explained) -> None:
    explained.run()
    explained.find_in_order(
        "starting",
        r"running \(pid \d+\)",
        r"exiting: an event reports the exit \(pid \d+, code 42\)",
        *END,
    )
    explained.find_in_order(r"the kernel reports that the init process has ended \(pidfd\)")


def test_an_exit_that_the_event_stream_lost_is_explained(
    executor: Executor, explained: Explained, caplog: pytest.LogCaptureFixture
) -> None:
    events = executor._events
    wait_until(lambda: "the event stream is active" in caplog.text or events._child, "the stream")
    child = events._child
    assert child
    explained.run(lambda: os.kill(child.pid, signal.SIGSTOP))
    times = explained.find_in_order(
        "starting",
        r"running \(pid \d+\)",
        r"the kernel reports that the init process has ended \(pidfd\)",
        r"exiting: reconciliation found the exit, no event reported it \(pid \d+, task stopped\)",
        "exit code (42|not available) from the kernel",
        *END,
    )
    noticed, reconciled = times[2:4]
    assert reconciled - noticed > 0.9
    assert "event reports the exit" not in caplog.text
    assert "the event stream is replaced" in caplog.text
