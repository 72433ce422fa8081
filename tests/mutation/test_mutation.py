"""Negative controls: with a guard taken out of a copy of the tree, the test that shows its promise fails.

Real: the tree, copied; pytest, run in the copy, two runs at a time; and whatever is real in the tests that are run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutation.commands import COMMANDS
from tests.mutation.directories import DIRECTORIES
from tests.mutation.exits import EXITS
from tests.mutation.guard import Guard
from tests.mutation.host_managed import KEPT
from tests.mutation.managed import MANAGED
from tests.mutation.output import OUTPUT
from tests.mutation.running import CGROUPS, Result, Run, Traces, end_leftovers
from tests.mutation.testing import PYTEST_PLUGIN

pytestmark = [pytest.mark.control, pytest.mark.timeout(600)]  # a test may wait for the runs before its own

AT_ONCE = 2
GUARDS = (*EXITS, *DIRECTORIES, *OUTPUT, *COMMANDS, *MANAGED, *KEPT, *PYTEST_PLUGIN)
TESTS = sorted({guard.test for guard in GUARDS})
Results = Callable[["Guard | None"], Result]


@pytest.fixture(autouse=True)
def no_leaks() -> None:
    """In place of the fixture of all tests: the runs go on beside ours, and are looked after one by one."""


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[Results]:
    """Start the runs of those guards that are asked for, ``None`` for all of them in place, and wait for one."""
    asking = [item for item in request.session.items if "results" in getattr(item, "fixturenames", ())]
    chosen = [item.callspec.params["guard"] if hasattr(item, "callspec") else None for item in asking]
    runs = {guard: Run([guard.test], guard) if guard else Run(TESTS) for guard in chosen}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {guard: pool.submit(run.execute) for guard, run in runs.items()}
        try:
            yield lambda guard: futures[guard].result()
        finally:  # after a Ctrl-C, or a failure that ends the session, some have not ended
            pool.shutdown(wait=False, cancel_futures=True)
            for run in runs.values():
                run.interrupt()


def test_what_outlives_a_run_is_found_and_ended(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    cgroup = next(path for path in (CGROUPS / "pids", CGROUPS) if path.is_dir()) / f"pluginexec/t{os.getpid()}-control"
    for directory in (inside, outside, cgroup):
        directory.mkdir(parents=True)
    sleep = ["sleep", "1000"]
    processes = [
        subprocess.Popen(sleep, cwd=inside),
        subprocess.Popen(["sh", "-c", "read line", str(inside)], stdin=subprocess.PIPE),
        subprocess.Popen(sleep, env={"TMPDIR": str(inside)}),
        in_cgroup := subprocess.Popen(sleep),
    ]
    (cgroup / "cgroup.procs").write_text(str(in_cgroup.pid))
    processes.append(bystander := subprocess.Popen(sleep, cwd=outside))
    subprocess.run(["mount", "-t", "tmpfs", "none", str(inside)], check=True)
    try:
        left = end_leftovers(Traces(inside, os.getpid(), []), patience=0.0)
        assert [process for process in processes if process.poll() is None] == [bystander]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    kinds = [line.split()[0] for line in left]
    assert [kinds.count(kind) for kind in ("process", "mount", "cgroup")] == [4, 1, 1]
    assert not cgroup.exists()
    assert not os.path.ismount(inside)


def test_with_all_guards_in_place_their_tests_pass(results: Results) -> None:
    result = results(None)
    assert result.returncode == pytest.ExitCode.OK, result.output
    assert result.imported == "pluginexec/__init__.py"
    assert sorted(result.passed) == TESTS
    assert not result.left


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_the_guard_its_test_fails(guard: Guard, results: Results) -> None:
    result = results(guard)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.output
    assert result.imported == "pluginexec/__init__.py"
    assert list(result.failed) == [guard.test], result.output
    assert re.search(guard.says, result.failed[guard.test]), result.output
    assert not result.left or guard.leaves, result.left
