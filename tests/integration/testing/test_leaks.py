"""What a test leaves behind fails it, and nothing else does.

Real: pytest in a process of its own, containerd, containers, mounts. A shim that has lost its container is a shell with
the name of a shim: no containerd of these versions leaves one behind while it runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.testing.conftest import Inner

pytest_plugins = ["pytester"]

LEAKS = """
    import concurrent.futures, os, shutil, subprocess, sys, threading, time
    import pytest
    from pluginexec import Executor, default_spec

    def test_container_in_the_namespace(executor, plugin):
        plugin(["sleep", "1000"], id="left")
        executor.close()

    def test_container_elsewhere(containerd, executor, busybox_rootfs, tmp_path):
        with Executor(tmp_path, containerd.remote, namespace="elsewhere") as other:
            other.create("far", default_spec(busybox_rootfs, ["sleep", "1000"], id="far"))

    def test_container_without_a_task(containerd, executor, plugin, busybox_rootfs):
        words = ["--namespace", plugin._namespace, "containers", "create", "--rootfs", busybox_rootfs, "idle"]
        subprocess.run(["ctr", "--address", containerd.address, *words], check=True)

    def test_shim(containerd, executor):
        words = ["-namespace", "gone", "-id", "lost", "-address", containerd.address]
        path = os.path.join(os.path.dirname(__file__), "containerd-shim-fake")
        shutil.copy(os.path.realpath("/bin/sh"), path)
        subprocess.Popen([path, "-c", "read line", *words], stdin=subprocess.PIPE, start_new_session=True)

    def test_mounts(executor, tmp_path):
        for directory in (tmp_path / "a b", executor.root_dir / "c"):
            directory.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=True)

    def test_fifo(executor):
        os.mkfifo(executor.root_dir / "pipe")

    def test_thread(executor):
        threading.Thread(target=time.sleep, args=(1000,), name="sleeper", daemon=True).start()

    def test_executor(containerd, executor, tmp_path):
        test_executor.kept = Executor(tmp_path, containerd.remote)

    def test_failure_and_leak(executor):
        os.mkfifo(executor.root_dir / "pipe")
        assert False

    def test_nothing(executor):
        test_executor.kept.close()

    started = []

    @pytest.fixture
    def before():
        end = threading.Event()
        thread = threading.Thread(target=lambda: [threading.Thread(target=end.wait).start(), end.wait()])
        thread.start()
        yield end
        end.set()
        thread.join()

    @pytest.fixture(scope="module")
    def pool():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            yield pool

    def test_threads_of_fixtures_and_pools(before, executor, pool):
        pool.submit(int).result()
        threading.Thread(target=before.wait).start()  # it ends with the fixture

    def test_without_the_fixtures():
        threading.Thread(target=time.sleep, args=(2,)).start()

    def test_after_that(executor):
        pass
"""


@pytest.mark.filterwarnings("default")
def test_each_kind_of_leak_fails_the_test_that_left_it_and_is_ended(inner: Inner) -> None:
    result = inner.run(LEAKS, "-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
    result.assert_outcomes(passed=12, failed=1, errors=9)
    left = "the test left behind, and these are ended now if possible:"
    result.stdout.fnmatch_lines(
        [
            *("*_ ERROR at teardown of test_container_in_the_namespace _*", left, "container left (*), running"),
            *("*_ ERROR at teardown of test_container_elsewhere _*", left, "container far (namespace elsewhere)"),
            *("*_ ERROR at teardown of test_container_without_a_task _*", left, "container idle (*), without a task"),
            *("*_ ERROR at teardown of test_shim _*", left, "shim of lost (namespace gone), pid *"),
            *("*_ ERROR at teardown of test_mounts _*", left, "mount /*", "mount /*"),
            *("*_ ERROR at teardown of test_fifo _*", left, "FIFO */e6/pipe"),
            *("*_ ERROR at teardown of test_thread _*", left, "thread 'sleeper', at *threading.py:*"),
            *("*_ ERROR at teardown of test_executor _*", left, "thread 'pluginexec-*"),
            *("*_ ERROR at teardown of test_failure_and_leak _*", left, "FIFO */e9/pipe"),
            "*_ test_failure_and_leak _*",
        ]
    )
    inner.check_nothing_left()
    assert str(inner.path) not in Path("/proc/self/mountinfo").read_text()
