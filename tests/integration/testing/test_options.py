"""The options of the pytest plugin, what it does where containers cannot run, and what it costs a run without it.

Real: pytest in processes of its own; containerd only where a test says so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec import Containerd
from pluginexec.testing.options import Settings
from pluginexec.testing.requirements import missing_requirement
from tests.integration.testing.conftest import STRICT, Inner

pytest_plugins = ["pytester"]

ASKS = "def test_it(plugin): plugin(['true']).wait()\ndef test_other(): pass"


def test_a_bad_value_is_one_line_before_any_test(inner: Inner) -> None:
    result = inner.run("def test_it(): pass", "--pluginexec-containerd=mine")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines == ["ERROR: pluginexec_containerd 'mine': must be worker or shared", ""]


def test_the_options_are_in_the_help(inner: Inner) -> None:
    result = inner.run("", "--help")
    for name in ("address", "containerd", "runtime", "timeout", "required"):
        result.stdout.fnmatch_lines([f"*--pluginexec-{name}*", f"*pluginexec_{name} *"])


def test_the_options_of_the_file_reach_the_fixtures_but_the_command_line_wins(
    inner: Inner, containerd: Containerd
) -> None:
    chosen = {"address": "/nonexistent", "containerd": "shared", "runtime": "/usr/bin/env", "timeout": "0.5"}
    lines = "".join(f"pluginexec_{name} = {value}\n" for name, value in chosen.items())
    (inner.path / "tox.ini").write_text(STRICT + lines)
    source = f"""
        import pytest
        from pluginexec import PluginExecError

        def test_it(containerd, plugin):
            assert (containerd.address, containerd.log_path) == ({containerd.address!r}, None)
            assert containerd.remote.runtime == "/usr/bin/env"
            assert plugin._timeout == 0.5
            with pytest.raises(PluginExecError):  # that is no runtime
                plugin(["true"])
    """
    inner.run(source, f"--pluginexec-address={containerd.address}").assert_outcomes(passed=1)
    inner.check_nothing_left()
    assert not [name for name in containerd.remote.new_client("x").namespaces() if name.startswith("pytest-")]


def test_where_no_container_can_be_run_the_tests_are_skipped_with_the_reason(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = inner.run(ASKS)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*: no ctr on the PATH: install it (Debian: apt-get install containerd runc)"])


def test_where_containers_are_required_the_tests_fail_with_the_reason(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = inner.run(ASKS, "--pluginexec-required")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["pluginexec is required, but no ctr on the PATH: *"])


def test_where_nothing_listens_on_the_address_that_was_given_the_tests_fail(inner: Inner) -> None:
    result = inner.run(ASKS, "--pluginexec-address=/nonexistent/socket")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["no containerd listens at /nonexistent/socket: start it, or drop *"])


SETTINGS = Settings(None, False, None, 30.0, False)


def test_this_machine_can_run_containers() -> None:
    assert missing_requirement(SETTINGS) is None


def test_a_runtime_that_is_not_there_is_named(containerd: Containerd) -> None:
    for address in (None, containerd.address):
        settings = Settings(address, False, "no-such-runtime", 30.0, False)
        assert str(missing_requirement(settings)).startswith("no no-such-runtime on the PATH: install it")


LIGHT = ["pluginexec", *(f"pluginexec.testing{name}" for name in ("", ".options", ".plugin", ".run_directory_names"))]
IMPORTED = f"""
    import sys
    LIGHT = {LIGHT}
    def test_it():
        ours = [name for name in sys.modules if name.startswith("pluginexec")]
        assert sorted(ours) == LIGHT
        assert "psutil" not in sys.modules and "click" not in sys.modules
"""


def test_a_run_that_does_not_use_it_imports_next_to_nothing(inner: Inner) -> None:
    (inner.path / "conftest.py").write_text("import sys\n" + END)
    result = inner.run(IMPORTED, "-n1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"imported in the end: {' '.join(LIGHT)}"])


END = '''
import pytest

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """Print what the controller has imported."""
    if not hasattr(config, "workerinput"):
        print("imported in the end:", *sorted(name for name in sys.modules if name.startswith("pluginexec")))
'''


def test_our_own_tests_and_the_plugin_get_along(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """In our own suite it is not loaded, but another suite may have such fixtures and options too."""
    monkeypatch.chdir(Path(__file__).parents[3])
    options = ["-o", "addopts=--strict-config --strict-markers", "-p", "no:cacheprovider", "--seed=1", "--rounds=1"]
    result = inner.run_here(
        *options,
        "tests/unit/test_validation.py",
        "tests/integration/executor/test_shared.py::test_the_pid_is_that_of_the_init_process",
    )
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["plugins:*pluginexec-*"])
