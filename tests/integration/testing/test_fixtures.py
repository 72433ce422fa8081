"""The fixtures of the pytest plugin, as a test suite uses them that treats warnings as errors.

Real: pytest in a process of its own, containerd, plugins, runc.
"""

from __future__ import annotations

from tests.integration.testing.conftest import Inner

pytest_plugins = ["pytester"]

USES = """
    import json, re, signal, threading
    from pathlib import Path
    import pytest
    from pluginexec import DeadlineExceeded, Executor, FailedPrecondition, InvalidArgument, default_spec
    from pluginexec.testing import Daemon, ExecResult, PluginFactory, PluginHandle

    TICK = "while :; do sleep 0.05; done"

    def test_a_plugin_says_and_ends(plugin: PluginFactory) -> None:
        handle = plugin(["sh", "-c", "echo out; printf '\\\\377' >&2; exit 3"])
        assert isinstance(handle, PluginHandle)
        status = handle.wait()
        assert (status.exit_code, status.pid) == (3, handle.pid)
        assert handle.exit_status == handle.wait() == status
        assert (handle.stdout, handle.stderr, handle.is_running()) == ("out\\n", "\\ufffd", False)
        assert repr(handle) == f"<PluginHandle {handle.id}: exited with code 3 (pid {handle.pid})>"

    def test_environment_and_directory_are_as_given(plugin):
        handle = plugin(["sh", "-c", "echo $A $PATH; pwd"], env={"A": "B=C", "PATH": "/bin"}, cwd="/tmp", id="mine")
        handle.wait()
        assert (handle.id, handle.stdout) == ("mine", "B=C /bin\\n/tmp\\n")

    @pytest.mark.parametrize("kind", ["dict", "file", "bundle"])
    def test_a_bundle_is_run_with_its_command_or_another(plugin, busybox_rootfs, tmp_path, kind):
        spec = default_spec(busybox_rootfs, ["echo", "its own"], id="x", env=["A=its"])
        (tmp_path / "config.json").write_text(json.dumps(spec))
        bundle = {"dict": spec, "file": tmp_path / "config.json", "bundle": tmp_path}[kind]
        own = plugin(bundle=bundle)
        other = plugin(["sh", "-c", "echo $A $B"], bundle=bundle, env={"B": "ours"})
        own.wait(), other.wait()
        assert (own.stdout, other.stdout) == ("its own\\n", "its ours\\n")

    def test_what_cannot_be_run_is_refused(plugin, busybox_rootfs):
        for options in ({}, {"bundle": {}}, {"command": ["sh"], "rootfs": busybox_rootfs, "bundle": {}}):
            with pytest.raises(InvalidArgument):
                plugin(**options)
        with pytest.raises(InvalidArgument, match="no-such"):
            plugin(["no-such"])
        assert plugin.handles == []

    def test_signals_and_execs_and_stopping(plugin):
        handle = plugin(["sh", "-c", f"trap 'echo usr1' USR1; trap 'exit 4' TERM; echo ready; {TICK}"], env={"A": "1"})
        assert handle.wait_for_output("r(ea)dy").group(1) == "ea"
        handle.signal(signal.SIGUSR1)
        handle.wait_for_output("usr1", timeout=20)
        script = "echo $A $B $PWD; echo err >&2; kill -9 $$"
        result = handle.exec(["sh", "-c", script], env={"B": "2"}, cwd="/tmp", user="5:6")
        assert result == ExecResult(137, "1 2 /tmp\\n", "err\\n")
        with pytest.raises(InvalidArgument, match="no-such"):
            handle.exec(["no-such"])
        with pytest.raises(DeadlineExceeded):
            handle.exec(["sleep", "1000"], timeout=0.2)
        with pytest.raises(DeadlineExceeded):
            handle.wait(0.01)
        assert "sleep 1000" not in handle.exec(["ps"]).stdout
        assert handle.is_running() and handle.stop().exit_code == 4
        assert handle.stop().exit_code == 4
        with pytest.raises(FailedPrecondition, match="not running"):
            handle.exec(["true"])

    def test_waiting_for_output_of_one_that_has_exited_fails_at_once(plugin):
        handle = plugin(["sh", "-c", "echo the last line; exit 5"])
        with pytest.raises(AssertionError, match=r"(?s)exited without printing 'never'.*code 5.*the last line"):
            handle.wait_for_output("never", timeout=1000)

    def test_waiting_for_output_shows_the_last_of_it_in_the_end(plugin):
        handle = plugin(["sh", "-c", f"seq 1000; {TICK}"])
        handle.wait_for_output("1000")
        message = r"(?s)not printed 'never' in 0.2 s.*running.*the last lines:.*1000"
        with pytest.raises(AssertionError, match=message) as failure:
            handle.wait_for_output("never", timeout=0.2)
        assert "\\n900\\n" not in str(failure.value)

    def test_an_id_can_be_used_again(plugin):
        first = plugin(["sh", "-c", "exit 1"], id="again")
        first._executor.wait("again")
        second = plugin(["sh", "-c", "exit 2"], id="again")
        assert second.wait().exit_code == 2
        assert not first.is_running() and first.exit_status is None

    roots = set()

    @pytest.mark.parametrize("again", [1, 2])
    def test_each_test_has_a_root_and_a_namespace_of_its_own(executor, plugin, containerd, again):
        assert isinstance(executor, Executor) and isinstance(containerd, Daemon)
        handle = plugin(["sleep", "1000"], id="same")  # left running: the teardown ends it
        assert f"/pluginexec/{plugin._namespace}-same" in Path(f"/proc/{handle.pid}/cgroup").read_text()
        executor.create("other", default_spec(plugin._busybox(), ["sleep", "1000"], id="other"))
        assert executor.is_running("same")
        roots.add(executor.root_dir)
        assert len(roots) == again

    def test_what_ends_by_itself_is_no_leak(plugin, tmp_path):
        thread = threading.Thread(target=plugin(["sleep", "0.1"]).wait)
        thread.start()
        (tmp_path / "directory").mkdir()
"""


def test_the_fixtures_do_what_they_say_and_leave_nothing(inner: Inner) -> None:
    result = inner.run(USES)
    result.assert_outcomes(passed=13)
    inner.check_nothing_left()
    (directory,) = inner.directories()
    assert directory.startswith("/run/pluginexec-tests/pytest-")


FAILS = """
    import pytest

    def test_shown(plugin):
        plugin(["sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"], id="one").wait()
        plugin(["sh", "-c", "echo ready; exec sleep 1000"], id="two").wait_for_output("ready")
        assert False

    def test_not_shown(plugin):
        plugin(["echo", "passes"], id="three").wait()

    @pytest.fixture
    def server(plugin):
        plugin(["sh", "-c", "echo no port; exit 2"], id="four").wait_for_output("listens")

    def test_setup_fails(server):
        pass

    def test_teardown_fails(plugin, request):
        request.addfinalizer(lambda: 1 / 0)
        plugin(["sh", "-c", "exit 6"], id="five").wait()

    def test_long(plugin):
        plugin(["sh", "-c", "seq 10000; exit 9"], id="six").wait()
        assert False

    def test_runs_afterwards(plugin):
        plugin(["true"]).wait()
"""


def test_a_test_that_fails_shows_its_plugins(inner: Inner) -> None:
    result = inner.run(FAILS, "-rP")
    result.assert_outcomes(passed=3, failed=2, errors=2)
    result.stdout.fnmatch_lines(
        [
            *("*ERROR at setup of test_setup_fails*", "*plugin four exited without printing 'listens'"),
            *("*- plugin four -*", "exited with code 2 (pid *", "stdout:", "no port", "stderr: nothing"),
            *("*ERROR at teardown of test_teardown_fails*", "*ZeroDivisionError*", "*- plugin five -*", "*code 6*"),
            *("*___ test_shown ___*", "*- plugin one -*", "exited with code 7 (pid *", "stdout:", "to stdout"),
            *("stderr:", "to stderr", "*- plugin two -*", "running (pid *", "stdout:", "ready"),
            *("*___ test_long ___*", "*- plugin six -*", "exited with code 9 (*", "stdout, the last lines:", "9971"),
        ]
    )
    result.stdout.no_fnmatch_line("*plugin three*")
    result.stdout.no_fnmatch_line("9970")
    inner.check_nothing_left()


OVERRIDES = """
    import pytest

    @pytest.fixture
    def note():
        pass

    @pytest.fixture
    def executor():
        return "mine"

    @pytest.fixture(scope="session")
    def containerd():
        return "mine, too"

    def test_it(executor, containerd):
        assert (executor, containerd) == ("mine", "mine, too")

    def test_ours_do_not_depend_on_them(plugin):
        plugin(["true"]).wait()
"""


def test_a_suite_may_have_fixtures_of_the_same_names(inner: Inner) -> None:
    inner.run(OVERRIDES).assert_outcomes(passed=2)
