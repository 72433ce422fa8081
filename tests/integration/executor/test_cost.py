"""What an executor costs, and what it gives back. Real: containerd, the containers, the processes that are counted."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pluginexec import Containerd, Executor, Remote
from pluginexec.containerd.client import Client
from pluginexec.containerd.ctr import Completed, Subprocesses, Watch
from tests.conftest import shims
from tests.integration.executor.test_lives import FOREVER
from tests.support.harness import Buffer, Exits, held_descriptors, live_children, our_threads, wait_until

Shell = Callable[..., dict[str, Any]]

WORDS = ("run", "tasks", "containers", "label", "rm", "ls", "kill", "version")
ONCE = ("label", "version")
"""What an executor runs once, as its stream of events begins: the marker, and the question which version this is."""


class Counting(Subprocesses):
    """Starts real commands, and counts those of which we wait for the end."""

    def __init__(self) -> None:
        self.commands: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        words = [word for word in argv if word in WORDS]
        with self._lock:
            self.commands[" ".join(words)] += 1
        return super().run(argv, timeout, watch)

    def for_plugins(self) -> dict[str, int]:
        """Return how many commands there were for plugins, and not once for the executor."""
        with self._lock:
            return {command: count for command, count in self.commands.items() if command not in ONCE}


def test_a_create_and_an_exit_start_one_ctr_each(
    new_executor: Callable[..., Executor], remote: Remote, id: str, shell: Shell, exits: Exits
) -> None:
    counting = Counting()
    executor = new_executor(remote=Remote(remote.address, runner=counting))
    wait_until(lambda: counting.commands["version"], "the standing of the stream")
    executor.create(id, shell(id, FOREVER), Buffer(), Buffer())
    executor.signal(id, "TERM")
    exits.wait_for(1)
    assert counting.for_plugins() == {"run": 1, "tasks kill": 1, "containers rm": 1}
    assert counting.commands["version"] == 1


def test_a_running_plugin_keeps_no_process_of_ours(executor: Executor, new_id: Callable[[], str], shell: Shell) -> None:
    wait_until(lambda: len(live_children()) >= 2, "containerd and ctr events")
    before = live_children()
    for _ in range(3):
        executor.create(id := new_id(), shell(id, FOREVER), Buffer(), Buffer())
    wait_until(lambda: live_children() <= before, "the end of what create started")


def test_no_logger_runs_where_both_sinks_are_none(
    executor: Executor, id: str, shell: Shell, containerd: Containerd
) -> None:
    executor.create(id, shell(id, FOREVER))
    (shim,) = shims(containerd)
    (init,) = shim.children()
    assert init.pid == executor._table.get(id).pid
    assert our_threads() >= {"pluginexec-events", "pluginexec-watch"}
    assert not [name for name in our_threads() if id in name]


def test_is_running_starts_no_process(
    new_executor: Callable[..., Executor], remote: Remote, id: str, shell: Shell
) -> None:
    counting = Counting()
    executor = new_executor(remote=Remote(remote.address, runner=counting))
    executor.create(id, shell(id, FOREVER))
    before = counting.for_plugins()
    assert all(executor.is_running(id) for _ in range(1000))
    assert counting.for_plugins() == before


def test_50_runs_leave_nothing_behind(
    executor: Executor,
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    client: Client,
    containerd: Containerd,
    root_dir: Path,
) -> None:
    wait_until(lambda: len(live_children()) >= 2, "containerd and ctr events")

    # Of ours alone: others may run tests on this machine.
    directory = str(Path(containerd.address).parent)

    def held() -> tuple[object, ...]:
        return (
            len(held_descriptors()),
            our_threads(),
            # How many, not which: on a busy machine an event stream that is late is replaced.
            len(live_children()),
            [path for path in root_dir.rglob("*") if path.is_fifo()],
            shims(containerd),
            [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if directory in line],
            client.containers(),
            list(Path("/sys/fs/cgroup").glob(f"*/pluginexec/t{os.getpid()}-*")),
        )

    executor.create(first := new_id(), shell(first, "exit 0"), Buffer(), Buffer())
    exits.wait_for(1)
    wait_until(lambda: not shims(containerd), "the end of the first shim")
    before = held()
    for life in range(50):
        id = new_id()
        executor.create(id, shell(id, "echo out; echo err >&2"), Buffer(), Buffer() if life % 2 else None)
        executor.wait(id, timeout=30)
    exits.wait_for(51)
    wait_until(lambda: held() == before, f"that all is as it was: {before}")
