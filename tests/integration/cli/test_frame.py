"""The frame of the command line: its commands, its globals, and how it ends.

Real: the command line, in processes of its own. Where a command must do something odd, it is a probe.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from pluginexec import PLUGIN_NAMESPACE, __version__
from pluginexec.cli import group
from pluginexec.cli.commands import plugin
from pluginexec.executor.executor import DEFAULT_ROOT
from tests.support.probe import environment, finished, on_terminal, pluginexec, probe

ISSUED = (
    *("run", "create", "start", "restore", "ps", "logs", "attach", "exec", "stop", "kill", "pause", "unpause", "wait"),
    *("rm", "inspect", "events", "stats", "info", "doctor", "daemon", "completion", "serve", "plugin"),
)
FAILURE = """
from pluginexec import Unavailable
raise Unavailable("no answer\\n\\x1b[31m", operation="create", id="x", argv=["ctr", "ls"], returncode=1,
                  stderr="first\\nsecond\\n", hint="start\\nit")
"""
SETTINGS = "import json; print(json.dumps({k: str(v) for k, v in vars(settings).items()}))"


def test_the_help_lists_all_commands_and_globals() -> None:
    code, stdout, stderr = finished(pluginexec("--help"))
    assert (code, stderr) == (0, "")
    assert sorted(re.findall(r"^  ([a-z]+)  ", stdout, re.MULTILINE)) == sorted(ISSUED)
    for name in ("address", "namespace", "root", "debug", "log-format"):
        assert f"--{name}" in stdout
        assert f"PLUGINEXEC_{name.upper().replace('-', '_')}" in stdout


def test_without_a_command_there_is_help() -> None:
    assert finished(pluginexec()) == finished(pluginexec("--help"))


@pytest.mark.parametrize("name", sorted(group.COMMANDS))
def test_the_help_of_all_says_what_that_of_the_command_begins_with(name: str) -> None:
    command = importlib.import_module(f"pluginexec.cli.commands.{name}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").startswith(group.COMMANDS[name].removesuffix("."))


@pytest.mark.parametrize("name", [path.stem for path in Path(plugin.__file__).parent.glob("[!_]*.py")])
def test_the_help_of_plugin_says_what_that_of_its_command_begins_with(name: str) -> None:
    command = importlib.import_module(f"pluginexec.cli.commands.plugin.{name}").command
    assert command.name == name
    helps = re.findall(rf"^  {name} +(.*)$", finished(pluginexec("plugin"))[1], re.MULTILINE)
    assert [command.help.startswith(help.removesuffix(".")) for help in helps] == [True]


def test_wrong_usage_of_plugin_is_one_line_that_says_what_to_do_and_125() -> None:
    said = "pluginexec: plugin: no such command: enabel; did you mean enable? see 'pluginexec plugin --help'\n"
    assert finished(pluginexec("plugin", "enabel")) == (125, "", said)
    code, stdout, stderr = finished(pluginexec("plugin", "rm"))
    assert (code, stdout) == (125, "")
    assert stderr.startswith("pluginexec: plugin rm: missing argument")


@pytest.mark.parametrize("name", sorted(group.COMMANDS))
def test_the_help_of_each_command_explains_it_and_each_option(name: str) -> None:
    command = importlib.import_module(f"pluginexec.cli.commands.{name}").command
    for each in [command, *getattr(command, "commands", {}).values()]:
        assert each.help
        options = [option for option in each.params if isinstance(option, click.Option)]
        assert all(option.help and option.help.endswith(".") for option in options)
    code, stdout, stderr = finished(pluginexec(name, "--help"))
    assert (code, stderr) == (0, "")
    assert all(option in stdout for param in command.params for option in param.opts if option.startswith("-"))


def test_the_defaults_are_those_of_the_executor() -> None:
    assert (group.DEFAULT_ROOT, group.DEFAULT_NAMESPACE) == (DEFAULT_ROOT, PLUGIN_NAMESPACE)


def test_the_version_is_told() -> None:
    assert finished(pluginexec("--version")) == (0, f"pluginexec {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["strat", "x"], "no such command: strat; did you mean stats or start? see 'pluginexec --help'"),
        (["zzz"], "no such command: zzz; see 'pluginexec --help'"),
        (["--rot", "/x", "ps"], "no such option: --rot; did you mean --root? see 'pluginexec --help'"),
        (["--root"], "option '--root' requires an argument; see 'pluginexec --help'"),
        (["--root", "", "completion", "bash"], "the root is empty: give a directory, or leave --root out; see 'pl"),
        (["--log-format", "xml", "ps"], "'xml' is not one of 'text', 'json'; see"),
        (["--namespace", "a b", "completion", "bash"], "namespace 'a b' is not allowed: use letters"),
        (["completion", "--foo"], "completion: no such option: --foo; see 'pluginexec completion --help'"),
        (["completion"], "completion: missing argument"),
        (["rm", "--force=true"], "rm: option '--force' does not take a value; see 'pluginexec rm --help'"),
        (["logs", "--since"], "logs: option '--since' requires an argument; see 'pluginexec logs --help'"),
        (["completion", "sh"], "'bash', 'zsh', 'fish'; see 'pluginexec completion --help'"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_to_do_and_125(arguments: list[str], said: str) -> None:
    code, stdout, stderr = finished(pluginexec(*arguments))
    assert (code, stdout) == (125, "")
    assert stderr.count("\n") == 1
    assert stderr.startswith("pluginexec: ")
    assert said in stderr


def settings_of(*globals: str, env: dict[str, str], **options: Any) -> dict[str, str]:
    code, stdout, stderr = finished(probe(SETTINGS, *globals), environment(**env), **options)
    assert (code, stderr) == (0, "")
    settings = json.loads(stdout)
    assert isinstance(settings, dict)
    return settings


def test_without_globals_commands_get_the_defaults() -> None:
    assert settings_of(env={"CONTAINERD_ADDRESS": "/c.sock", "PLUGINEXEC_ROOT": "", "PLUGINEXEC_ADDRESS": ""}) == {
        "address": "None",  # so that Remote() honours CONTAINERD_ADDRESS
        "namespace": "plugins.moby",
        "root": "/run/pluginexec",
        "debug": "False",
        "log_format": "text",
    }


def test_globals_come_from_the_environment_and_the_command_line_beats_it() -> None:
    env = {"ADDRESS": "/e.sock", "NAMESPACE": "env", "ROOT": "/env", "DEBUG": "1", "LOG_FORMAT": "json"}
    env = {f"PLUGINEXEC_{name}": value for name, value in env.items()}
    assert settings_of(env=env) == {
        "address": "/e.sock",
        "namespace": "env",
        "root": "/env",
        "debug": "True",
        "log_format": "json",
    }
    said = settings_of("-a", "/a.sock", "-n", "said", "--root", "/said", "--log-format", "text", env=env)
    assert [said[name] for name in ("address", "namespace", "root", "log_format")] == [
        *("/a.sock", "said", "/said", "text"),
    ]


def test_a_relative_root_is_made_absolute(tmp_path: Path) -> None:
    assert settings_of("--root", "here", env={}, cwd=tmp_path)["root"] == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return 0", 0),
        ("return None", 0),
        ("return 42", 42),
        ("raise SystemExit(7)", 7),
        ("click.get_current_context().exit(5)", 5),
    ],
)
def test_the_exit_code_is_what_the_command_returns(body: str, code: int) -> None:
    assert finished(probe(body)) == (code, "", "")


def test_an_error_of_ours_is_one_line_and_125() -> None:
    said = "pluginexec: create 'x': no answer \\x1b[31m (start it)\n"
    assert finished(probe(FAILURE)) == (125, "", said)


def test_with_debug_an_error_shows_the_command_that_failed_and_its_stderr() -> None:
    code, _, stderr = finished(probe(FAILURE, "--debug"))
    assert code == 125
    assert stderr.splitlines()[1:] == [
        "pluginexec: debug: argv: ctr ls",
        "pluginexec: debug: returncode: 1",
        "pluginexec: debug: stderr: first",
        "pluginexec: debug: stderr: second",
    ]


def test_with_json_an_error_is_one_object_with_stable_keys() -> None:
    code, stdout, stderr = finished(probe(FAILURE, "--log-format", "json"))
    assert (code, stdout, stderr.count("\n")) == (125, "", 1)
    told = json.loads(stderr)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", told.pop("time"))
    message = "create 'x': no answer \\x1b[31m"
    assert told == {"level": "error", "msg": message, "operation": "create", "id": "x", "hint": "start\nit"}
    told = json.loads(finished(probe(FAILURE, "--log-format", "json", "--debug"))[2])
    assert (told["argv"], told["returncode"], told["stderr"]) == (["ctr", "ls"], 1, "first\nsecond\n")


@pytest.mark.parametrize("arguments", [["--log-format", "json", "--rot"], ["--log-format", "json", "ps", "--foo"]])
def test_with_json_wrong_usage_is_an_object_too(arguments: list[str]) -> None:
    told = json.loads(finished(pluginexec(*arguments))[2])
    assert set(told) == {"time", "level", "msg", "operation", "id", "hint"}
    assert told["hint"].startswith("see 'pluginexec")


def test_an_unexpected_exception_is_one_line_and_shows_where_with_debug() -> None:
    said = "pluginexec: internal error: KeyError: 'what\\n'; run with --debug to see where\n"
    assert finished(probe("raise KeyError('what\\n')")) == (125, "", said)
    code, _, stderr = finished(probe("raise KeyError('what\\n')", "--debug"))
    assert code == 125
    assert "pluginexec: debug: traceback: Traceback" in stderr
    assert stderr.count("\n") > 5


def test_an_os_error_that_nobody_explained_names_the_file() -> None:
    code, _, stderr = finished(probe("open('/no/such/file')"))
    assert (code, stderr) == (
        125,
        "pluginexec: No such file or directory: '/no/such/file'; run with --debug to see where\n",
    )


@pytest.mark.parametrize("body", ["import os; os.kill(os.getpid(), 2)", "raise KeyboardInterrupt", "raise click.Abort"])
def test_ctrl_c_ends_it_with_130_and_silently(body: str) -> None:
    assert finished(probe(body)) == (130, "", "")


def test_ctrl_c_is_silent_while_the_command_line_is_still_being_imported() -> None:
    script = """if True:
        import builtins, os, signal, sys
        real = builtins.__import__
        def interrupted(name, *rest):
            if name == "pluginexec.cli.group":
                os.kill(os.getpid(), signal.SIGINT)
            return real(name, *rest)
        builtins.__import__ = interrupted
        from pluginexec import cli
        cli.main()
    """
    argv = [sys.executable, "-c", script]
    assert finished(argv) == (128 + signal.SIGINT, "", "")


CLOSED = [
    pytest.param(pluginexec("--help"), id="help"),
    pytest.param(pluginexec("completion", "bash"), id="completion"),
    pytest.param(probe("print('x' * 10_000_000)"), id="much"),
    pytest.param(probe("print('x')\nreturn 3"), id="little"),
    pytest.param(probe("print('x')\nraise SystemExit(3)"), id="SystemExit"),
]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("argv", CLOSED)
def test_a_closed_pipe_is_silent(argv: list[str], unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert finished(argv, environment(PYTHONUNBUFFERED=unbuffered), stdout=write) == (141, "", "")
    finally:
        os.close(write)


def test_a_pipe_that_closes_while_an_error_is_told_is_silent() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert finished(pluginexec("zzz"), stdout=write, stderr=subprocess.STDOUT) == (141, "", "")
    finally:
        os.close(write)


def test_a_broken_pipe_that_is_not_stdout_is_no_secret() -> None:
    code, _, stderr = finished(probe("raise BrokenPipeError(32, 'Broken pipe')"))
    assert (code, stderr) == (125, "pluginexec: Broken pipe; run with --debug to see where\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("argv", [pluginexec("--help"), probe("print('x')")], ids=["help", "print"])
def test_a_full_disk_is_one_line(argv: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        code, _, stderr = finished(argv, environment(PYTHONUNBUFFERED=unbuffered), stdout=full)
    assert code == 125
    assert "No space left on device" in stderr
    assert stderr.count("\n") == 1


def test_what_the_encoding_cannot_show_is_shown_as_its_escape() -> None:
    env = environment(PYTHONIOENCODING="ascii")
    assert finished(probe("print('\\u2026 \\udc80')"), env) == (0, "\\u2026 \\udc80\n", "")


LOG = """
import logging
log = logging.getLogger("pluginexec.x")
log.debug("small")
log.warning("great\\n\\x1b[1m")
try:
    raise ValueError("bad")
except ValueError:
    log.exception("odd")
"""


def test_the_log_shows_warnings_as_lines_and_more_with_debug() -> None:
    lines = ["pluginexec: great \\x1b[1m", "pluginexec: odd: ValueError: bad"]
    assert finished(probe(LOG))[2].splitlines() == lines
    told = finished(probe(LOG, "--debug"))[2].splitlines()
    assert told[0] == "pluginexec: debug: small"
    assert told[1:3] == lines
    assert told[3].startswith("Traceback")


def test_the_log_is_one_object_a_line_with_json() -> None:
    told = [json.loads(line) for line in finished(probe(LOG, "--log-format", "json", "--debug"))[2].splitlines()]
    assert [(each["level"], each["msg"]) for each in told] == [
        *(("debug", "small"), ("warning", "great \\x1b[1m"), ("error", "odd: ValueError: bad")),
    ]
    assert all(each["time"].endswith("Z") for each in told)
    assert "traceback" in told[2]


RED = "\x1b[31mpluginexec:\x1b[0m zzz"
PLAIN = "pluginexec: zzz"


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        ({"TERM": "xterm"}, RED),
        ({"TERM": "xterm", "NO_COLOR": ""}, RED),
        ({"TERM": "xterm", "NO_COLOR": "1"}, PLAIN),
        ({"TERM": "dumb"}, PLAIN),
    ],
)
def test_colour_is_only_for_terminals_and_never_with_no_color(env: dict[str, str], shown: str) -> None:
    body = "from pluginexec import NotFound; raise NotFound('zzz')"
    with on_terminal(probe(body), environment(**env)) as terminal:
        pass
    assert terminal.text.strip() == shown
    assert finished(probe(body), environment(**env))[2].strip() == PLAIN
