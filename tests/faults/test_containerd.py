"""Plugins and their exits survive containerd.

Real: containerd, which is killed, stopped and away for half a minute; the containers; their loggers.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pluginexec import (
    Containerd,
    DeadlineExceeded,
    Executor,
    PluginExecError,
    Remote,
    Unavailable,
)
from tests.support.fleet import KERNEL_TELLS_CODES, MORTAL_KINDS, Member, assert_nothing_left
from tests.support.harness import PATIENCE, Buffer, Exits, suspend, wait_until

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
OUTAGE = 30.0
TIMEOUT = 3.0
"""Seconds that a command may take in these tests."""
SLACK = 10.0
"""Seconds beyond their time-outs that operations may take on a busy machine."""


@pytest.fixture
def members(dice: random.Random, new_id: Callable[[], str]) -> Callable[..., list[Member]]:
    """Make one plugin of each kind that ends by itself, in any order."""

    def make(**changes: Any) -> list[Member]:
        return [Member(kind, new_id(), dice, **changes) for kind in dice.sample(MORTAL_KINDS, len(MORTAL_KINDS))]

    return make


@pytest.fixture
def never_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No death of containerd counts as early, however soon the next one comes."""
    monkeypatch.setattr("pluginexec.daemon.supervisor.EARLY_EXIT", 0.0)


def codes_of(member: Member) -> tuple[int | None, ...]:
    """Which codes can be known of a plugin that ended while containerd was away: 1.7 and later forget it."""
    return (member.code,) if KERNEL_TELLS_CODES else (member.code, None)


def kill(containerd: Containerd) -> int:
    """SIGKILL it; return the pid that it had."""
    wait_until(lambda: containerd.pid, "a containerd to kill")
    pid = containerd.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_for_the_next(containerd: Containerd, executor: Executor, last: int) -> None:
    """Wait until another one answers."""

    def answers() -> bool:
        try:
            return bool(executor._client.server_version())
        except PluginExecError:
            return False

    wait_until(lambda: containerd.pid not in (None, last), "the next containerd", OUTAGE + PATIENCE)
    wait_until(answers, "its answer")


def check_no_second_exit(executor: Executor, shell: Shell, exits: Exits, id: str) -> None:
    """One that is doubled comes late: so wait for the exit of one more plugin, then count."""
    executor.create(id, shell(id, "exit 0"))
    wait_until(lambda: id in exits.ids, "the last exit")
    assert len(exits.ids) == len(set(exits.ids))


def test_plugins_live_and_end_once_while_containerd_is_killed_again_and_again(
    mortal: Containerd,
    new_executor: NewExecutor,
    members: Callable[..., list[Member]],
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    dice: random.Random,
    rounds: range,
    never_gives_up: None,
) -> None:
    executor = new_executor(remote=mortal.remote)
    untouched = Member("forever", new_id(), dice)
    untouched.create(executor, shell)
    everybody = []
    for _ in rounds:
        everybody += (mixed := members())
        for member in mixed:
            member.create(executor, shell)
        time.sleep(dice.uniform(0.0, 0.5))
        last = kill(mortal)
        wait_for_the_next(mortal, executor, last)
    for member in everybody:
        member.check(exits, *codes_of(member))
    assert executor._client.tasks()[untouched.id].pid == untouched.pid
    assert executor.stop(untouched.id).exit_code == untouched.code
    untouched.check(exits)
    check_no_second_exit(executor, shell, exits, new_id())
    assert_nothing_left(executor, *(member.id for member in [untouched, *everybody]))


@pytest.mark.timeout(180)
def test_plugins_that_end_in_a_long_outage_have_one_exit_and_operations_meanwhile_say_unavailable(
    mortal: Containerd,
    new_executor: NewExecutor,
    members: Callable[..., list[Member]],
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    dice: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pluginexec.daemon.supervisor.FIRST_PAUSE", OUTAGE)
    executor = new_executor(remote=Remote(mortal.address, timeout=TIMEOUT))
    untouched = Member("forever", new_id(), dice)
    everybody = [*members(longest=0.8 * OUTAGE), *members(longest=0.8 * OUTAGE)]
    for member in [untouched, *everybody]:
        member.create(executor, shell)
    last = kill(mortal)
    for _ in range(3):
        time.sleep(dice.uniform(0.0, 3.0))
        for operation in (
            lambda: executor.create(new_id(), shell("x", "exit 0"), Buffer(), Buffer()),
            lambda: executor.restore(new_id(), Buffer(), Buffer()),
            lambda: executor.signal(untouched.id, "TERM"),
            lambda: executor.stop(untouched.id),
        ):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                operation()
            assert time.monotonic() - began < 2 * TIMEOUT + SLACK
        assert executor.is_running(untouched.id)
    wait_for_the_next(mortal, executor, last)
    for member in everybody:
        member.check(exits, *codes_of(member))
    assert executor._client.tasks()[untouched.id].pid == untouched.pid
    executor.stop(untouched.id)
    untouched.check(exits)
    check_no_second_exit(executor, shell, exits, new_id())
    assert_nothing_left(executor, *(member.id for member in [untouched, *everybody]))


class Creation:
    """A ``create`` on a thread of its own."""

    def __init__(self, executor: Executor, shell: Shell, member: Member) -> None:
        self.error: PluginExecError | None = None
        self.took = 0.0
        self._arguments = (executor, shell, member)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        executor, shell, member = self._arguments
        began = time.monotonic()
        try:
            executor.create(member.id, shell(member.id, member.script), member.stdout, member.stderr)
        except PluginExecError as error:
            self.error = error
        self.took = time.monotonic() - began


def settle(creation: Creation, executor: Executor, shell: Shell, exits: Exits, member: Member) -> None:
    """See a plugin to its end whose creation was disturbed: it runs, or it is created again."""
    creation.thread.join()
    if creation.error:
        assert isinstance(creation.error, (Unavailable, DeadlineExceeded)), creation.error
        assert (member.stdout.closings, member.stderr.closings) == (0, 0)
        wait_until(lambda: created(executor, shell, member), f"that {member.id} can be created")
    member.check(exits, *codes_of(member))


def created(executor: Executor, shell: Shell, member: Member) -> bool:
    """Create it, unless what an earlier attempt began still goes on in containerd."""
    try:
        member.create(executor, shell)
    except PluginExecError:
        return False
    return True


def test_a_create_in_whose_midst_containerd_is_killed_ends_in_time_and_leaves_nothing(
    mortal: Containerd,
    new_executor: NewExecutor,
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    dice: random.Random,
    rounds: range,
    never_gives_up: None,
) -> None:
    executor = new_executor(remote=Remote(mortal.address, timeout=TIMEOUT))
    everybody = []
    for _ in rounds:
        everybody.append(member := Member(dice.choice(MORTAL_KINDS), new_id(), dice))
        creation = Creation(executor, shell, member)
        time.sleep(dice.uniform(0.0, 0.15))
        last = kill(mortal)
        wait_for_the_next(mortal, executor, last)
        settle(creation, executor, shell, exits, member)
        assert creation.took < 4 * TIMEOUT + SLACK
    check_no_second_exit(executor, shell, exits, new_id())
    assert_nothing_left(executor, *(member.id for member in everybody))


def test_one_that_is_too_busy_to_answer_is_not_taken_for_dead(
    mortal: Containerd,
    new_executor: NewExecutor,
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = new_executor(remote=mortal.remote)
    ids = [new_id() for _ in range(20)]
    outputs = [Buffer() for _ in ids]
    for id, output in zip(ids, outputs, strict=True):
        executor.create(id, shell(id, "echo begun; exec sleep 1000"), output)
    wait_until(lambda: all(output.data for output in outputs), "their output")
    for id in ids:
        os.kill(executor.pid(id), signal.SIGKILL)
    exits.wait_for(1)  # so the others are being deleted
    assert mortal.pid
    busy = suspend(mortal.pid)
    time.sleep(4.0)
    busy.resume()
    assert {status.exit_code for _, status in exits.wait_for(len(ids))} == {137}
    assert all(output.closings == 1 for output in outputs)
    # Neither "a container may be left behind" nor "gave up waiting for end of file", nor that no events come.
    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == []
    assert_nothing_left(executor, *ids)


@pytest.mark.timeout(240)
def test_while_containerd_is_stopped_operations_end_in_time_and_plugins_are_untouched(
    mortal: Containerd,
    new_executor: NewExecutor,
    members: Callable[..., list[Member]],
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    dice: random.Random,
    rounds: range,
) -> None:
    executor = new_executor(remote=Remote(mortal.address, timeout=TIMEOUT))
    untouched = Member("forever", new_id(), dice)
    untouched.create(executor, shell)
    everybody = []
    for _ in rounds[:1]:  # each takes all the time-outs there are
        everybody += (mixed := members())
        for member in mixed:
            member.create(executor, shell)
        everybody.append(late := Member(dice.choice(MORTAL_KINDS), new_id(), dice))
        creation = Creation(executor, shell, late)
        time.sleep(dice.uniform(0.0, 0.15))
        assert mortal.pid
        suspend(mortal.pid)
        try:
            began = time.monotonic()
            # On a busy machine ctr may need its whole time to find out that nobody answers.
            with pytest.raises((Unavailable, DeadlineExceeded)):
                executor.signal(untouched.id, "TERM")
            with pytest.raises((Unavailable, DeadlineExceeded)):
                executor.create(new_id(), shell("x", "exit 0"))
            assert time.monotonic() - began < 4 * TIMEOUT + SLACK
            creation.thread.join(4 * TIMEOUT + SLACK)
            assert not creation.thread.is_alive()
            assert executor.is_running(untouched.id)
        finally:
            os.kill(mortal.pid, signal.SIGCONT)
        settle(creation, executor, shell, exits, late)
        for member in mixed:
            member.check(exits, *codes_of(member))
    assert executor._client.tasks()[untouched.id].pid == untouched.pid
    executor.stop(untouched.id)
    untouched.check(exits)
    check_no_second_exit(executor, shell, exits, new_id())
    assert_nothing_left(executor, *(member.id for member in [untouched, *everybody]))
