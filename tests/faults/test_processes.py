"""Whichever process around a plugin dies, there is one exit or none, no hang, and nothing left.

Real: containerd, the shims, the containers' init processes, the loggers and their copiers, all of which are SIGKILLed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pluginexec import Executor
from pluginexec.cleanup.loggers import LOGGER_TIMEOUT
from tests.support.bytemodel import gaps, numbered
from tests.support.fleet import KINDS, Member, assert_nothing_left, processes_of
from tests.support.harness import PATIENCE, Buffer, Exits, wait_until

Shell = Callable[..., dict[str, Any]]
CAT_HOLDS = 1 << 17
"""Bytes that a ``cat`` may have read and not yet written."""
LINES = 100_000
# "over" again and again, because the cat that is killed may hold it.
TALKS = f"seq -w 1 {LINES}; trap 'exit 7' TERM; while :; do echo over >&2; sleep 0.05; done"
SAYS_THAT_IT_ENDS = "trap 'echo end; exit 7' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def fleet(
    executor: Executor, dice: random.Random, new_id: Callable[[], str], shell: Shell
) -> Callable[[], list[Member]]:
    """Create one plugin of each kind, in any order."""

    def create() -> list[Member]:
        members = [Member(kind, new_id(), dice) for kind in dice.sample(KINDS, len(KINDS))]
        for member in members:
            member.create(executor, shell)
        return members

    return create


def shim_of(id: str, address: str) -> psutil.Process | None:
    """Return the shim of a plugin, if it still has one."""
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if line and {address, id} <= set(line) and "delete" not in line:
            return process
    return None


def kill(process: psutil.Process | None) -> bool:
    """SIGKILL it; return whether it was there."""
    try:
        if process is None:
            return False
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def kill_logger(id: str, name: str) -> list[psutil.Process]:
    """SIGKILL the processes of that name in a plugin's logger."""
    killed = processes_of(id, name)
    for process in killed:
        kill(process)
    wait_until(lambda: not set(killed) & set(processes_of(id, name)), "their end")
    return killed


def check_killed(victim: str, member: Member, exits: Exits, executor: Executor) -> None:
    """One exit; what came of its output is the beginning of it, and whole where the plugin ended by itself."""
    # The process of a dead shim is left to PID 1. Where that reaps it late, and containerd is late too, nobody knows.
    member.check_exit(exits, member.code, 137, *([None] if victim == "shim" else []))
    if executor.exit_status(member.id).exit_code == member.code:
        member.check(exits)
    assert member.expected.startswith(member.stdout.data)
    assert (member.stdout.closings, member.stderr.closings) == (1, 1)


def check_the_others(others: list[Member], executor: Executor, exits: Exits) -> None:
    """Those whose processes were left alone notice nothing."""
    for member in others:
        if member.kind == "forever":
            executor.stop(member.id)
        member.check(exits)


@pytest.mark.parametrize("victim", ["shim", "init"])
def test_a_plugin_whose_shim_or_init_process_is_killed_has_one_exit_and_its_id_is_free(
    victim: str,
    executor: Executor,
    fleet: Callable[[], list[Member]],
    shell: Shell,
    exits: Exits,
    dice: random.Random,
    rounds: range,
) -> None:
    told: Counter[str] = Counter()
    for _ in rounds[:2]:
        members = fleet()
        member = dice.choice(members)
        # Found before the pause, because looking takes longer than some lives.
        pid = executor._table.get(member.id).pid if member.id in executor._table else 0
        process = shim_of(member.id, executor._client._ctr.address)
        time.sleep(dice.uniform(0.0, 0.3))
        if victim == "shim":
            kill(process)
        elif init := executor._table._plugins.get(member.id):
            assert init.pid == pid
            executor._table.send(init, signal.SIGKILL)
        check_killed(victim, member, exits, executor)
        executor.create(member.id, shell(member.id, "exit 0"))
        executor.wait(member.id, PATIENCE)
        check_the_others([other for other in members if other is not member], executor, exits)
        assert_nothing_left(executor, *(each.id for each in members))
        told.update([member.id, *(each.id for each in members)])
        wait_until(lambda: len(exits.ids) >= told.total(), "all exits")
        assert Counter(exits.ids) == told


@pytest.mark.parametrize("name", ["sh", "cat"])
def test_a_plugin_outlives_the_processes_of_its_logger_and_what_is_lost_is_what_a_cat_held(
    name: str,
    executor: Executor,
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    dice: random.Random,
    rounds: range,
) -> None:
    for _ in rounds:
        stdout, stderr = Buffer(), Buffer()
        executor.create(id := new_id(), shell(id, TALKS), stdout, stderr)
        kills = 0
        # Until it has said all: then a cat holds nothing.
        while not stderr.data and kills < 3:
            time.sleep(dice.uniform(0.0, 0.02))
            kills += bool(kill_logger(id, name))
        wait_until(lambda: b"over" in stderr.data, "the end of its output")  # noqa: B023
        assert executor.is_running(id)
        began = time.monotonic()
        assert executor.stop(id).exit_code == 7
        assert time.monotonic() - began < LOGGER_TIMEOUT
        lost = gaps(numbered(LINES), stdout.data)
        assert sum(lost) <= (kills * CAT_HOLDS if name == "cat" else 0)
        assert set(stderr.data.splitlines()) == {b"over"}
        assert_nothing_left(executor, id)
    wait_until(lambda: len(exits.ids) == len(rounds), "the exits")


def test_a_plugin_whose_logger_is_killed_altogether_lives_on_and_ends_once_without_delay(
    executor: Executor, new_id: Callable[[], str], shell: Shell, exits: Exits, dice: random.Random, rounds: range
) -> None:
    for _ in rounds[:3]:
        stdout = Buffer()
        executor.create(id := new_id(), shell(id, SAYS_THAT_IT_ENDS), stdout, stdout)
        wait_until(lambda: stdout.data == b"up\n", "the plugin")  # noqa: B023
        for process in dice.sample(processes := processes_of(id), len(processes)):
            kill(process)
        # A shell may have started another copier in between.
        wait_until(lambda: not [kill(process) for process in processes_of(id)], "the end of its logger")
        assert executor.is_running(id)
        began = time.monotonic()
        assert executor.stop(id).exit_code == 7
        assert time.monotonic() - began < LOGGER_TIMEOUT
        assert stdout.closings == 1
        assert_nothing_left(executor, id)
    assert len(exits.wait_for(len(rounds[:3]))) == len(rounds[:3])


def test_a_logger_that_is_killed_when_the_plugin_has_ended_costs_no_delay(
    executor: Executor, new_id: Callable[[], str], shell: Shell, exits: Exits, rounds: range
) -> None:
    for _ in rounds[:3]:
        stdout = Buffer()
        executor.create(id := new_id(), shell(id, SAYS_THAT_IT_ENDS), stdout, Buffer())
        wait_until(lambda: stdout.data == b"up\n", "the plugin")  # noqa: B023
        began = time.monotonic()
        os.kill(executor._table.get(id).pid, signal.SIGTERM)
        wait_until(lambda: stdout.data == b"up\nend\n", "its last word")  # noqa: B023
        kill_logger(id, "sh")
        assert executor.wait(id, PATIENCE).exit_code == 7
        assert time.monotonic() - began < LOGGER_TIMEOUT
        assert_nothing_left(executor, id)
    assert len(exits.wait_for(len(rounds[:3]))) == len(rounds[:3])
