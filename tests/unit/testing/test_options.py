"""The options of the pytest plugin, read by a pytest in this process."""

from __future__ import annotations

import re

import pytest

from pluginexec.testing.options import Settings, read_settings

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def no_options_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the options that this run was given from the tests' own."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def read(pytester: pytest.Pytester, argument: str) -> Settings:
    """Return the settings of a pytest with this argument; the plugin need not be installed."""
    return read_settings(pytester.parseconfigure("-pno:pluginexec", "-ppluginexec.testing.plugin", argument))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--pluginexec-timeout=soon", "pluginexec_timeout 'soon': must be a number of seconds up to 1e+06"),
        ("--pluginexec-timeout=-1", "pluginexec_timeout '-1': must be a number of seconds up to 1e+06"),
        ("--pluginexec-timeout=nan", "pluginexec_timeout 'nan': must be a number of seconds up to 1e+06"),
        ("--pluginexec-containerd=mine", "pluginexec_containerd 'mine': must be worker or shared"),
        ("--pluginexec-address=unix:///x", "pluginexec_address 'unix:///x': must be the bare path of the socket"),
        ("-opluginexec_timeout=0", "pluginexec_timeout '0': must be a number of seconds up to 1e+06"),
    ],
)
def test_a_bad_value_is_refused(pytester: pytest.Pytester, argument: str, message: str) -> None:
    with pytest.raises(pytest.UsageError, match=re.escape(message)):
        read(pytester, argument)


@pytest.mark.parametrize("argument", ["--pluginexec-required", "-opluginexec_required=true"])
def test_containers_can_be_required_here_and_in_the_file(pytester: pytest.Pytester, argument: str) -> None:
    assert read(pytester, argument).required
