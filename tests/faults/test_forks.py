"""A process forks while it has executors, containerds and plugins; the child unwinds, and the parent notices nothing.

Real: containerd, the plugins, pytest, and the forks, in processes of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd
from pluginexec.host.records import is_alive
from tests.integration.testing.conftest import Inner
from tests.integration.testing.conftest import inner as inner  # a fixture
from tests.support.harness import PATIENCE
from tests.support.managed_plugins.bundles import make_bundle
from tests.support.plugins import Plugins
from tests.support.probe import environment

pytest_plugins = ["pytester"]

Shell = Callable[..., dict[str, Any]]
FORK = """
    import json, os, signal, sys, threading
    from pathlib import Path
    from pluginexec import Containerd, Executor, FailedPrecondition, ManagedPlugin, Remote, default_spec
    from tests.support.harness import PATIENCE, wait_until

    ROOT, ADDRESS, ID, SPEC, *MORE = sys.argv[1:]

    def end_of(child):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def fork_and_unwind(in_child=lambda: None):
        child = os.fork()
        if child == 0:
            signal.alarm(int(PATIENCE))  # in the end a child that waits for the parent's threads fails
            in_child()
            sys.exit(7)
        assert end_of(child) == 7

    def refused(operation, *arguments):
        try:
            operation(*arguments)
        except FailedPrecondition as error:
            assert "forked" in str(error), error
        else:
            raise AssertionError(f"{operation} was not refused")
"""


def forks(script: str, *arguments: object) -> None:
    """Run a script that forks in a process of its own, to its end."""
    source = textwrap.dedent(FORK) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", source, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("clean_namespace")
def test_the_executor_of_the_parent_goes_on(
    root_dir: Path, containerd: Containerd, id: str, shell: Shell, tmp_path: Path
) -> None:
    spec = shell(id, "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done")
    forks(
        """
        class Handler:
            def handle_exit_event(self, id, status):
                print(status.exit_code, file=sys.stdout, flush=True)

        output = Path(MORE[0]).open("wb", buffering=0)
        with Executor(ROOT, Remote(ADDRESS), Handler()) as executor:
            executor.create(ID, json.loads(SPEC), output)
            wait_until(lambda: Path(MORE[0]).read_bytes(), "the trap")

            def in_child():
                assert executor.is_running(ID)
                for operation in (executor.stop, executor.wait, executor.restore):
                    refused(operation, ID)
                refused(executor.create, "other", {})
                executor.close()

            fork_and_unwind(in_child)
            assert executor.is_running(ID)
            assert executor.stop(ID, PATIENCE).exit_code == 5
            assert Path(MORE[0]).read_bytes() == b"up\\nbye\\n"
        """,
        *(root_dir, containerd.address, id, json.dumps(spec), tmp_path / "output"),
    )


def test_the_root_is_free_once_the_parent_has_closed_though_its_child_lives_on(root_dir: Path, id: str) -> None:
    forks(
        """
        executor = Executor(ROOT, Remote("/nothing/listens/here"))
        waits, go_on = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(go_on)
            os.read(waits, 1)
            executor.close()
            os._exit(7)
        executor.close()
        Executor(ROOT, Remote("/nothing/listens/here")).close()
        os.close(go_on)
        assert end_of(child) == 7
        """,
        *(root_dir, "", id, ""),
    )


@pytest.mark.parametrize("end", ["stop", "leave", "__enter__().stop"])
def test_the_containerd_of_the_parent_goes_on(short_root: Path, id: str, shell: Shell, end: str) -> None:
    forks(
        """
        with Containerd(f"{ROOT}/d") as containerd, Executor(f"{ROOT}/e", containerd.remote) as executor:
            executor.create(ID, json.loads(SPEC))
            pid = containerd.pid

            def in_child():
                if MORE[0] == "__enter__().stop":
                    try:
                        containerd.start()
                    except FailedPrecondition:
                        pass
                    containerd.stop()
                    try:
                        containerd.start()  # one of its own now; the directory is the parent's
                    except FailedPrecondition as error:
                        assert "another supervisor" in str(error)
                else:
                    getattr(containerd, MORE[0])()
                    getattr(containerd, MORE[0])()

            fork_and_unwind(in_child)
            assert containerd.pid == pid
            assert executor.is_running(ID)
            executor.signal(ID, "KILL")
            assert executor.wait(ID, PATIENCE).exit_code == 137
        """,
        *(short_root, "", id, json.dumps(shell(id, "exec sleep 1000")), end),
    )


@pytest.mark.usefixtures("clean_namespace")
def test_the_managed_plugin_of_the_parent_goes_on(
    root_dir: Path, containerd: Containerd, id: str, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle", "volume")
    forks(
        """
        with Executor(ROOT, Remote(ADDRESS)) as executor:
            with ManagedPlugin(executor, MORE[0], id=ID, restart="always") as plugin:
                fork_and_unwind(lambda: (plugin.disable(), plugin.remove(), refused(plugin.enable)))
                assert plugin.enabled
                assert plugin.call("VolumeDriver.Create", {"Name": "data", "Opts": {}}) == {"Err": ""}
        """,
        *(root_dir, containerd.address, id, "", bundle),
    )


def test_serve_of_the_parent_goes_on(plugins: Plugins, root_dir: Path, containerd: Containerd) -> None:
    id = plugins.run()
    forks(
        """
        from pluginexec.host.serve.sd_notify import Notifier
        from pluginexec.host.serve.service import Options, Serve
        from tests.support.layouts import one_directory

        pending, wakeup = os.pipe()

        class ForksWhenReady(Notifier):
            def ready(self, status):
                fork_and_unwind()
                assert Path(ROOT, "serve.sock").exists()
                assert threading.active_count() > 1
                os.write(wakeup, bytes([signal.SIGTERM]))

        options = Options(ADDRESS, "plugins.moby", live_restore=True)
        Serve(one_directory(Path(ROOT)), options, ForksWhenReady(None)).run(pending)
        """,
        *(root_dir, containerd.address, id, ""),
    )
    assert is_alive(plugins.records.state(id))


def test_the_plugins_of_a_test_go_on_when_its_child_fails(inner: Inner) -> None:
    result = inner.run(
        """
        import os, signal, sys

        def test_that_forks(plugin, executor, docker_plugin):
            handle = plugin(["sh", "-c", "exec sleep 1000"])
            child = os.fork()
            if child == 0:
                sys.stdout = sys.stderr = open(os.devnull, "w")
                signal.alarm(30)
                raise KeyboardInterrupt
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
            assert handle.is_running()
            assert handle.stop(0).exit_code == 137

        def test_after_it(plugin):
            assert plugin(["sh", "-c", "exit 3"]).wait().exit_code == 3
    """,
        "-W",
        "ignore::DeprecationWarning",
        "-s",
    )
    result.assert_outcomes(passed=2)
    inner.check_nothing_left()
