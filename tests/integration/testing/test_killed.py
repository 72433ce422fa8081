"""Test runs that are interrupted or killed, and runs with several workers.

Real: pytest and the workers of pytest-xdist in processes of their own, signals, containerd, plugins.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pluginexec import Containerd
from pluginexec.daemon.files import DaemonFiles
from tests.integration.testing.conftest import Inner
from tests.support.harness import PATIENCE, wait_until

pytest_plugins = ["pytester"]

RESTS = """
    import pytest

    @pytest.fixture
    def noisy(plugin):
        plugin(["sh", "-c", "exec yes"]).wait_for_output("y")
        plugin(["sh", "-c", "trap '' TERM; sleep 1000"])

    @pytest.fixture
    def slow(noisy, rest):
        rest()

    def test_in_the_middle(noisy, rest):
        rest()

    def test_in_the_set_up(slow):
        pass
"""
NEXT = "def test_next(executor): pass"


@pytest.mark.parametrize("test", ["test_in_the_middle", "test_in_the_set_up"])
def test_ctrl_c_leaves_nothing(inner: Inner, test: str) -> None:
    inner.write(RESTS)
    process = inner.start("-k", test)
    inner.wait_until_resting(process)
    assert len(inner.left()) > 5
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == pytest.ExitCode.INTERRUPTED, inner.output
    inner.check_nothing_left()


def test_ctrl_c_twice_leaves_nothing(inner: Inner) -> None:
    inner.write("""
        import os, signal, time
        import pytest

        @pytest.fixture
        def interrupted_again(plugin, rest):
            yield
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1000)

        @pytest.fixture
        def and_here(plugin):
            yield
            plugin._executor.close = None  # what comes behind the interrupt is not reached

        def test_it(and_here, interrupted_again, plugin, rest):
            plugin(["sleep", "1000"])
            rest()
    """)
    process = inner.start()
    inner.wait_until_resting(process)
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)
    inner.check_nothing_left()


def test_ctrl_c_ends_what_the_workers_run(inner: Inner) -> None:
    inner.write(RESTS)
    process = inner.start("-n2", "--pluginexec-containerd=shared")
    inner.wait_until_resting(process, 2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == pytest.ExitCode.INTERRUPTED, inner.output
    inner.check_nothing_left()


SHARES = """
    import time
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_it(plugin, number, rest):
        handle = plugin(["sh", "-c", f"echo {number}; sleep 0.2; exit {number}"], id="same")
        assert handle.wait().exit_code == number
        assert handle.stdout == f"{number}\\n"
"""


@pytest.mark.parametrize("kind", ["worker", "shared"])
def test_workers_have_a_containerd_each_or_share_one(inner: Inner, kind: str) -> None:
    result = inner.run(SHARES, "-n2", f"--pluginexec-containerd={kind}")
    result.assert_outcomes(passed=4)
    assert len({pid for _, _, pid in inner.notes}) == 2
    addresses = {address for address, _, _ in inner.notes}
    assert len(addresses) == (1 if kind == "shared" else 2)
    assert all(f"/{'shared' if kind == 'shared' else 'pytest'}-" in address for address in addresses)
    inner.check_nothing_left()


def test_what_a_killed_run_has_left_the_next_one_ends(inner: Inner) -> None:
    inner.write(RESTS)
    process = inner.start("-n2", "--pluginexec-containerd=shared")
    inner.wait_until_resting(process, 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = inner.left()
    assert len([line for line in left if "containerd-shim" in line]) == 4
    inner.run(NEXT).assert_outcomes(passed=1)
    inner.check_nothing_left()


def test_what_a_killed_run_has_left_is_ended_though_its_containerd_is_dead_too(inner: Inner) -> None:
    inner.write(RESTS)
    process = inner.start("-k", "middle")
    inner.wait_until_resting(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (address,) = {address for address, _, _ in inner.notes}
    files = DaemonFiles(Path(address).parent)
    (daemon,) = files.processes()
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not list(files.processes()))
    inner.run(NEXT).assert_outcomes(passed=1)
    inner.check_nothing_left()


def test_what_a_killed_run_has_left_is_ended_on_a_containerd_that_was_there(
    inner: Inner, containerd: Containerd
) -> None:
    client = containerd.remote.new_client("of-another-program")
    inner.write(RESTS)
    process = inner.start("-k", "middle", f"--pluginexec-address={containerd.address}")
    inner.wait_until_resting(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [name for name in client.namespaces() if name.startswith("pytest-")]
    inner.run(NEXT).assert_outcomes(passed=1)
    inner.check_nothing_left()
    assert not [name for name in client.namespaces() if name.startswith("pytest-")]
    assert containerd.remote.listens()


def test_what_a_killed_worker_has_left_the_same_run_ends(inner: Inner) -> None:
    inner.write("""
        import os, signal

        def test_is_killed(plugin):
            plugin(["sleep", "1000"])
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    process = inner.start("-n1", "--max-worker-restart=0")
    assert process.wait(PATIENCE) == pytest.ExitCode.TESTS_FAILED, inner.output
    inner.check_nothing_left()


def test_a_running_run_is_left_alone_by_the_next(inner: Inner) -> None:
    inner.write(RESTS)
    process = inner.start("-k", "middle")
    inner.wait_until_resting(process)
    before = sorted(line for line in inner.left() if "containerd" in line)
    inner.run(NEXT, "-n1").assert_outcomes(passed=1)
    assert process.poll() is None
    assert set(before) <= set(inner.left())
