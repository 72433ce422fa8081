"""The options of the pytest plugin, what it does where no container can be run, and what it costs who does not use it.

Real: pytest in processes of its own; containerd only where a test says so.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pluginexec import Containerd
from pluginexec.testing import requirements as needs
from pluginexec.testing.options import Settings, read_settings
from tests.integration.testing.conftest import STRICT, Inner

pytest_plugins = ["pytester"]

ASKS = "def test_it(plugin): plugin(['true']).wait()\ndef test_other(): pass"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--pluginexec-timeout=soon", "pluginexec_timeout 'soon': give a number of seconds up to 1e+06"),
        ("--pluginexec-timeout=-1", "pluginexec_timeout '-1': give a number of seconds up to 1e+06"),
        ("--pluginexec-timeout=nan", "pluginexec_timeout 'nan': give a number of seconds up to 1e+06"),
        ("--pluginexec-containerd=mine", "pluginexec_containerd 'mine': give worker or shared"),
        ("--pluginexec-address=unix:///x", "pluginexec_address 'unix:///x': give the bare path of the socket"),
        ("-opluginexec_timeout=0", "pluginexec_timeout '0': give a number of seconds up to 1e+06"),
    ],
)
def test_a_bad_value_is_refused(inner: Inner, pytester: pytest.Pytester, argument: str, said: str) -> None:
    with pytest.raises(pytest.UsageError, match=re.escape(said)):
        pytester.parseconfigure(argument)


def test_a_bad_value_is_one_line_before_any_test(inner: Inner) -> None:
    result = inner.run("def test_it(): pass", "--pluginexec-containerd=mine")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines == ["ERROR: pluginexec_containerd 'mine': give worker or shared", ""]


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
    inner.see_nothing_left()
    assert not [name for name in containerd.remote.new_client("x").namespaces() if name.startswith("pytest-")]


def test_where_no_container_can_be_run_the_tests_are_skipped_with_the_reason(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = inner.run(ASKS)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*: no ctr on the PATH: install it (Debian: apt-get install containerd runc)"])


@pytest.mark.parametrize("argument", ["--pluginexec-required", "-opluginexec_required=true"])
def test_containers_can_be_required_here_and_in_the_file(pytester: pytest.Pytester, argument: str) -> None:
    assert read_settings(pytester.parseconfigure(argument)).required


def test_where_containers_are_required_the_tests_fail_with_the_reason(inner: Inner) -> None:
    result = inner.run(ASKS, "--pluginexec-required", "--pluginexec-address=/nonexistent/socket")
    result.assert_outcomes(passed=1, errors=1)
    said = "pluginexec is required, but no containerd listens at /nonexistent/socket: start it, or do without *"
    result.stdout.fnmatch_lines([said])


SETTINGS = Settings(None, False, None, 30.0, False)


def test_this_machine_can_run_containers() -> None:
    assert needs.why_not(SETTINGS) is None


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert needs.why_not(SETTINGS) == "not root, but user 1000: run it as root, as with sudo"


def test_a_runtime_that_is_not_there_is_named(containerd: Containerd) -> None:
    for address in (None, containerd.address):
        settings = Settings(address, False, "no-such-runtime", 30.0, False)
        assert str(needs.why_not(settings)).startswith("no no-such-runtime on the PATH: install it")


LIGHT = ["pluginexec", *(f"pluginexec.testing{name}" for name in ("", ".placenames", ".plugin", ".options"))]
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
    """Tell what the controller has imported."""
    if not hasattr(config, "workerinput"):
        print("imported in the end:", *sorted(name for name in sys.modules if name.startswith("pluginexec")))
'''


def test_our_own_tests_and_the_plugin_get_along(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """In our own suite it is not loaded, but somebody else's may have such fixtures and options too."""
    monkeypatch.chdir(Path(__file__).parents[3])
    options = ["-o", "addopts=--strict-config --strict-markers", "-p", "no:cacheprovider", "--seed=1", "--rounds=1"]
    result = inner.run_here(
        *options,
        "tests/unit/test_validation.py",
        "tests/integration/executor/test_shared.py::test_the_pid_is_that_of_the_init_process",
    )
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["plugins:*pluginexec-*"])
