"""Executors that share a root, and the pid of a plugin.

Real: containerd, the plugins, the locks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pluginexec import Executor, FailedPrecondition, NotFound
from pluginexec.root.root import EXITS_KEPT, Root
from tests.support.harness import wait_until

TICK = "while :; do sleep 0.05; done"
New = Callable[..., Executor]


def test_executors_that_share_a_root_run_plugins_side_by_side(new_executor: New, shell: Any, new_id: Any) -> None:
    ids = [new_id(), new_id()]
    executors = [new_executor(shared=True) for _ in ids]
    for executor, id in zip(executors, ids, strict=True):
        executor.create(id, shell(id, "sleep 0.2; exit 3"))
    for executor, id in zip(executors, ids, strict=True):
        assert executor.wait(id, 30).exit_code == 3
        with pytest.raises(NotFound):
            executor.is_running(id)


def test_one_takes_over_what_another_let_go_of(new_executor: New, shell: Any, id: str) -> None:
    first, second = new_executor(shared=True), new_executor(shared=True)
    first.create(id, shell(id, TICK))
    first.close()
    assert second.restore(id)
    assert second.stop(id, timeout=0).exit_code == 137


def test_one_that_does_not_share_keeps_those_that_do_out_and_they_it(new_executor: New) -> None:
    alone = new_executor()
    with pytest.raises(FailedPrecondition, match="in use"):
        new_executor(shared=True)
    alone.close()
    shared = new_executor(shared=True)
    with pytest.raises(FailedPrecondition, match="in use"):
        new_executor()
    shared.close()


def test_no_exit_record_of_a_shared_root_is_removed(tmp_path: Any) -> None:
    for number in range(EXITS_KEPT + 3):
        directory = tmp_path / "containers" / f"p{number}"
        directory.mkdir(parents=True)
        (directory / "exit.json").touch()
    for shared, old in ((True, 0), (False, 3)):
        root = Root(tmp_path, shared=shared)
        assert len(root.old_exits()) == old
        root.close()


def test_the_pid_is_that_of_the_init_process(executor: Executor, shell: Any, id: str) -> None:
    executor.create(id, shell(id, TICK))
    # The runtime has let it go, but it may not have executed its command yet.
    wait_until(lambda: psutil.Process(executor.pid(id)).cmdline()[-1:] == [TICK], "its command line")
    executor.stop(id, timeout=0)
    with pytest.raises(NotFound):
        executor.pid(id)
