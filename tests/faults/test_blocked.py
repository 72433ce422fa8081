"""What blocks for ever holds up nobody else, and not for ever.

Real: containerd, the containers, their loggers, the processes that hold a plugin's pipe open from outside.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor
from pluginexec.cleanup.loggers import LOGGER_TIMEOUT
from pluginexec.containerd.client import Client
from pluginexec.executor.exits import DELETE_SLOT_TIMEOUT, DELETIONS_AT_ONCE
from pluginexec.streams import streams as streams_module
from pluginexec.streams.streams import DRAIN_IDLE, PIPE_SIZE, STOP_TIMEOUT
from pluginexec.types import TaskState
from tests.integration.executor.test_lives import FOREVER
from tests.support.containers import wait_for_state
from tests.support.harness import PATIENCE, Buffer, Exits, Gate, our_threads, wait_until
from tests.support.shortages import holders

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
BOUND = LOGGER_TIMEOUT + DRAIN_IDLE + STOP_TIMEOUT
"""Seconds after which an exit is delivered, whatever blocks: the shim, the drain, and the writer, one after another."""
WAITS = "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"
TALKS = f"trap : TERM; echo up; while :; do sleep 0.05; head -c {3 * PIPE_SIZE} /dev/zero; done"


class Stuck(Gate):
    """A writer that blocks in its first write, for longer than anybody waits."""

    def write(self, data: bytes, /) -> int | None:
        self.entered.set()
        assert self.let_go.wait(10 * PATIENCE)
        return Buffer.write(self, data)


@pytest.fixture
def hold() -> Iterator[Callable[[Executor, str, int], None]]:
    """Hold a plugin's stdout or stderr open, as a process that it left behind elsewhere would."""
    held: list[int] = []

    def hold(executor: Executor, id: str, number: int) -> None:
        held.append(os.open(f"/proc/{executor._table.get(id).pid}/fd/{number}", os.O_WRONLY))

    yield hold
    for descriptor in held:
        os.close(descriptor)


@pytest.mark.timeout(240)
def test_whatever_blocks_each_exit_comes_once_after_a_bound_and_others_notice_nothing(
    executor: Executor,
    exits: Exits,
    new_id: Callable[[], str],
    shell: Shell,
    client: Client,
    tmp_path: Path,
    root_dir: Path,
    dice: random.Random,
    hold: Callable[[Executor, str, int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = [new_id() for _ in range(DELETIONS_AT_ONCE + 2)]
    full, stuck = Stuck(), Stuck()
    buffers: list[Buffer] = []
    # A writer that blocks while more is printed than all buffers hold, and one of which the rest fits into them.
    executor.create(ids[0], shell(ids[0], TALKS), full)
    executor.create(ids[1], shell(ids[1], WAITS), stuck)
    executor.create(ids[2], shell(ids[2], WAITS), tmp_path / "out", tmp_path / "err")
    for id in ids[3:]:
        buffers.append(Buffer())
        executor.create(id, shell(id, WAITS), buffers[-1])
    for id in ids[2:]:
        hold(executor, id, dice.choice((1, 2)) if id == ids[2] else 1)
    wait_until(lambda: full.entered.is_set() and stuck.entered.is_set(), "the writers' first bytes")
    wait_until(lambda: all(buffer.data == b"up\n" for buffer in buffers), "that all are up")
    began = time.monotonic()
    for id in ids:
        executor.signal(id, "KILL" if id == ids[0] else "TERM")
    ended: dict[str, float] = {}
    others = []
    while len(ended) < len(ids):
        id = new_id()
        others.append(id)
        live_one_life(executor, id, shell(id, "seq 2000; exit 7"))
        ended |= {id: time.monotonic() - began for id in set(exits.ids) & set(ids) - set(ended)}
        assert time.monotonic() - began < BOUND + DELETE_SLOT_TIMEOUT + PATIENCE
    print(f"\nseconds: {sorted(round(seconds, 1) for seconds in ended.values())}; others meanwhile: {len(others)}")
    assert len(others) > 2
    assert sorted(exits.ids) == sorted(ids + others)
    codes = {id: status.exit_code for id, status in exits.wait_for(0)}
    assert [codes[id] for id in ids] == [137] + [3] * (len(ids) - 1)
    for id in (*ids[:2], *ids[3:]):
        assert f"{id}-stdout: gave up waiting for end of file" in caplog.text
    for id in ids[:2]:
        assert f"writer of {id}-stdout blocks" in caplog.text
    assert [(buffer.data, buffer.closings) for buffer in buffers] == [(b"up\n", 1)] * len(buffers)
    assert (tmp_path / "out").read_text() == "up\n"
    assert client.containers() == []
    wait_until(lambda: not holders(root_dir), f"the end of {holders(root_dir)}")
    come_back(full, stuck)


def wait_until_full(fifo: Path) -> None:
    """Wait until a FIFO that nobody reads takes no more."""
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    try:
        wait_until(lambda: not poll.poll(0), "a FIFO that is full")
    finally:
        os.close(descriptor)


def live_one_life(executor: Executor, id: str, spec: dict[str, Any]) -> None:
    """Run another plugin to its end: all of it arrives, long before the bound."""
    stdout = Buffer()
    began = time.monotonic()
    executor.create(id, spec, stdout)
    assert executor.wait(id, timeout=PATIENCE).exit_code == 7
    assert stdout.data == "".join(f"{i}\n" for i in range(1, 2001)).encode()
    assert time.monotonic() - began < LOGGER_TIMEOUT - 1


def come_back(*writers: Stuck) -> None:
    """Let writers that were given up return: they are closed once, and touch nobody's descriptors."""
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]  # all numbers that were given back too early
    for writer in writers:
        assert writer.closings == 0
        writer.let_go.set()
        assert writer.closed.wait(PATIENCE)
    wait_until(lambda: not {name for name in our_threads() if name.endswith(("-stdout", "-stderr"))}, "their threads")
    for descriptor in mine:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == "/dev/null"
        os.close(descriptor)
    assert [writer.closings for writer in writers] == [1] * len(writers)


def test_a_close_is_bounded_however_many_writers_block_and_their_plugins_run_on(
    new_executor: NewExecutor, new_id: Callable[[], str], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "STOP_TIMEOUT", 2.0)
    first = new_executor()
    writers = {new_id(): Stuck() for _ in range(8)}
    for id, writer in writers.items():
        first.create(id, shell(id, "trap 'echo end; exit 3' TERM; echo up; while :; do sleep 0.05; done"), writer)
    for writer in writers.values():
        assert writer.entered.wait(PATIENCE)
    began = time.monotonic()
    first.close()
    assert time.monotonic() - began < 0.75 * 2.0 * len(writers)
    second = new_executor()
    rest = {id: Buffer() for id in writers}
    for id, buffer in rest.items():
        assert second.restore(id, buffer)
        assert second.stop(id).exit_code == 3
    come_back(*writers.values())
    assert [writers[id].data + rest[id].data for id in writers] == [b"up\nend\n"] * len(writers)


def test_a_create_over_an_ended_plugin_that_nobody_read_leaves_nothing_of_it(
    new_executor: NewExecutor, id: str, shell: Shell, client: Client, root_dir: Path
) -> None:
    first = new_executor()
    up = Buffer()
    first.create(id, shell(id, TALKS), up)
    wait_until(lambda: up.data, "its first bytes")
    pid = first._table.get(id).pid
    first.close()
    wait_until_full(first._root.plugin(id).stdout)
    old = holders(root_dir)
    assert old
    os.kill(pid, signal.SIGKILL)
    wait_for_state(client, id, TaskState.STOPPED)
    second = new_executor()
    stdout = Buffer()
    second.create(id, shell(id, FOREVER), stdout)
    wait_until(lambda: not old & holders(root_dir), "the end of the old loggers")
    second.stop(id, timeout=0)
    assert stdout.data == b""
