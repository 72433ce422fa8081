"""The top-level command: its commands, help and global options, and the exit code of a command."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import click
import pytest

from pluginexec import PLUGIN_NAMESPACE, __version__
from pluginexec.cli import group
from pluginexec.cli.commands import plugin
from pluginexec.cli.globals import Settings
from pluginexec.root.layout import DEFAULT_ROOT
from tests.unit.cli.conftest import Call

ISSUED = (
    *("run", "create", "start", "restore", "ps", "logs", "attach", "exec", "stop", "kill", "pause", "unpause", "wait"),
    *("rm", "inspect", "events", "stats", "info", "doctor", "daemon", "completion", "serve", "plugin"),
    *("pull", "images", "tag", "rmi", "load", "save"),
)


def test_the_help_lists_all_commands_and_globals(call: Call) -> None:
    code, stdout, stderr = call("--help")
    assert (code, stderr) == (0, "")
    assert sorted(re.findall(r"^  ([a-z]+)  ", stdout, re.MULTILINE)) == sorted(ISSUED)
    for name in ("address", "namespace", "root", "debug", "log-format"):
        assert f"--{name}" in stdout
        assert f"PLUGINEXEC_{name.upper().replace('-', '_')}" in stdout


def test_without_a_command_there_is_help(call: Call) -> None:
    assert call() == call("--help")


def test_each_command_has_a_module() -> None:
    files = Path(plugin.__file__).parents[1].glob("[!_]*")
    assert sorted(path.stem for path in files) == sorted(group.COMMANDS)


@pytest.mark.parametrize("name", sorted(group.COMMANDS))
def test_the_help_of_all_says_what_that_of_the_command_begins_with(name: str) -> None:
    command = importlib.import_module(f"pluginexec.cli.commands.{name}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").startswith(group.COMMANDS[name].removesuffix("."))


@pytest.mark.parametrize("name", [path.stem for path in Path(plugin.__file__).parent.glob("[!_]*.py")])
def test_the_help_of_plugin_says_what_that_of_its_command_begins_with(name: str, call: Call) -> None:
    command = importlib.import_module(f"pluginexec.cli.commands.plugin.{name}").command
    assert command.name == name
    helps = re.findall(rf"^  {name} +(.*)$", call("plugin")[1], re.MULTILINE)
    assert [command.help.startswith(help.removesuffix(".")) for help in helps] == [True]


@pytest.mark.parametrize("name", sorted(group.COMMANDS))
def test_the_help_of_each_command_explains_it_and_each_option(name: str, call: Call) -> None:
    command = importlib.import_module(f"pluginexec.cli.commands.{name}").command
    for each in [command, *getattr(command, "commands", {}).values()]:
        assert each.help
        options = [option for option in each.params if isinstance(option, click.Option)]
        assert all(option.help and option.help.endswith(".") for option in options)
    code, stdout, stderr = call(name, "--help")
    assert (code, stderr) == (0, "")
    assert all(option in stdout for param in command.params for option in param.opts if option.startswith("-"))


def test_the_defaults_are_those_of_the_layout_and_the_executor() -> None:
    assert (group.DEFAULT_ROOT, group.DEFAULT_NAMESPACE) == (DEFAULT_ROOT, PLUGIN_NAMESPACE)


def test_the_version_is_printed(call: Call) -> None:
    assert call("--version") == (0, f"pluginexec {__version__}\n", "")


def settings_of(probe: Call, *globals: str) -> dict[str, str]:
    seen: dict[str, str] = {}

    def see(settings: Settings) -> None:
        layout = settings.layout
        values = {**vars(settings), "root": layout.root, "state": layout.state}
        seen.update({name: str(value) for name, value in values.items() if name != "layout"})

    assert probe(see, *globals) == (0, "", "")
    return seen


def test_without_globals_commands_get_the_defaults(probe: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("CONTAINERD_ADDRESS", "/c.sock"),
        ("PLUGINEXEC_ROOT", ""),
        ("PLUGINEXEC_ADDRESS", ""),
        ("PLUGINEXEC_STATE", ""),
    ):
        monkeypatch.setenv(name, value)
    assert settings_of(probe) == {
        "address": "None",  # so that Remote() honours CONTAINERD_ADDRESS
        "namespace": "plugins.moby",
        "root": "/var/lib/pluginexec",
        "state": "/run/pluginexec",
        "timeout": "30.0",
        "debug": "False",
        "log_format": "text",
    }


def test_globals_come_from_the_environment_and_the_command_line_beats_it(
    probe: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"ADDRESS": "/e.sock", "NAMESPACE": "env", "ROOT": "/env", "DEBUG": "1", "LOG_FORMAT": "json"}
    env |= {"STATE": "/env-state", "TIMEOUT": "90"}
    for name, value in env.items():
        monkeypatch.setenv(f"PLUGINEXEC_{name}", value)
    assert settings_of(probe) == {
        "address": "/e.sock",
        "namespace": "env",
        "root": "/env",
        "state": "/env-state",
        "timeout": "90.0",
        "debug": "True",
        "log_format": "json",
    }
    roots = ("--root", "/given", "--state", "/given-state")
    given = settings_of(probe, "-a", "/a.sock", "-n", "given", *roots, "--timeout", "1.5", "--log-format", "text")
    assert [given[name] for name in ("address", "namespace", "root", "state", "timeout", "log_format")] == [
        *("/a.sock", "given", "/given", "/given-state", "1.5", "text"),
    ]


def test_a_relative_root_is_made_absolute(probe: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings_of(probe, "--root", "here")["root"] == str(tmp_path / "here")


def exit_with_7(settings: Any) -> None:
    raise SystemExit(7)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(lambda settings: 0, 0, id="0"),
        pytest.param(lambda settings: None, 0, id="None"),
        pytest.param(lambda settings: 42, 42, id="42"),
        pytest.param(exit_with_7, 7, id="SystemExit"),
        pytest.param(lambda settings: click.get_current_context().exit(5), 5, id="click's exit"),
    ],
)
def test_the_exit_code_is_what_the_command_returns(probe: Call, body: Any, code: int) -> None:
    assert probe(body) == (code, "", "")
