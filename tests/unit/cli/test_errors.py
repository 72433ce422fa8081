"""Error reports: one line, or one JSON object, and the exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

from pluginexec import Unavailable
from tests.unit.cli.conftest import Call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strat", "x"], "no such command: strat; did you mean start? see 'pluginexec --help'"),
        (["zzz"], "no such command: zzz; see 'pluginexec --help'"),
        (["--rot", "/x", "ps"], "no such option: --rot; did you mean --root? see 'pluginexec --help'"),
        (["--root"], "option '--root' requires an argument; see 'pluginexec --help'"),
        (["--root", "", "completion", "bash"], "the root is empty: pass a directory, or omit --root; see 'pl"),
        (["--log-format", "xml", "ps"], "'xml' is not one of 'text', 'json'; see"),
        (["--namespace", "a b", "completion", "bash"], "namespace 'a b' is not allowed: use letters"),
        (["completion", "--foo"], "completion: no such option: --foo; see 'pluginexec completion --help'"),
        (["completion"], "completion: missing argument"),
        (["rm", "--force=true"], "rm: option '--force' does not take a value; see 'pluginexec rm --help'"),
        (["logs", "--since"], "logs: option '--since' requires an argument; see 'pluginexec logs --help'"),
        (["completion", "sh"], "'bash', 'zsh', 'fish'; see 'pluginexec completion --help'"),
        (["plugin", "enabel"], "plugin: no such command: enabel; did you mean enable? see 'pluginexec plugin --help'"),
        (["plugin", "rm"], "plugin rm: missing argument"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_to_do_and_125(call: Call, arguments: list[str], message: str) -> None:
    code, stdout, stderr = call(*arguments)
    assert (code, stdout) == (125, "")
    assert stderr.count("\n") == 1
    assert stderr.startswith("pluginexec: ")
    assert message in stderr


def fail(settings: Any) -> None:
    raise Unavailable(
        "no answer\n\x1b[31m", operation="create", id="x", argv=["ctr", "ls"], returncode=1, stderr="first\nsecond\n",
        hint="start\nit",
    )  # fmt: skip


def test_an_error_is_one_line_and_125(probe: Call) -> None:
    assert probe(fail) == (125, "", "pluginexec: create 'x': no answer \\x1b[31m; hint: start it\n")


def test_with_debug_an_error_shows_the_command_that_failed_and_its_stderr(probe: Call) -> None:
    code, _, stderr = probe(fail, "--debug")
    assert code == 125
    assert stderr.splitlines()[1:] == [
        "pluginexec: debug: argv: ctr ls",
        "pluginexec: debug: returncode: 1",
        "pluginexec: debug: stderr: first",
        "pluginexec: debug: stderr: second",
    ]


def test_with_json_an_error_is_one_object_with_stable_keys(probe: Call) -> None:
    code, stdout, stderr = probe(fail, "--log-format", "json")
    assert (code, stdout, stderr.count("\n")) == (125, "", 1)
    report = json.loads(stderr)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", report.pop("time"))
    message = "create 'x': no answer \\x1b[31m"
    assert report == {"level": "error", "msg": message, "operation": "create", "id": "x", "hint": "start\nit"}
    report = json.loads(probe(fail, "--log-format", "json", "--debug")[2])
    assert (report["argv"], report["returncode"], report["stderr"]) == (["ctr", "ls"], 1, "first\nsecond\n")


@pytest.mark.parametrize("arguments", [["--log-format", "json", "--rot"], ["--log-format", "json", "ps", "--foo"]])
def test_with_json_wrong_usage_is_an_object_too(call: Call, arguments: list[str]) -> None:
    report = json.loads(call(*arguments)[2])
    assert set(report) == {"time", "level", "msg", "operation", "id", "hint"}
    assert report["hint"].startswith("see 'pluginexec")


def fail_internally(settings: Any) -> None:
    raise KeyError("what\n")


def test_an_unexpected_exception_is_one_line_and_has_its_traceback_with_debug(probe: Call) -> None:
    line = "pluginexec: internal error: KeyError: 'what\\n'; run with --debug for a traceback\n"
    assert probe(fail_internally) == (125, "", line)
    code, _, stderr = probe(fail_internally, "--debug")
    assert code == 125
    assert "pluginexec: debug: traceback: Traceback" in stderr
    assert stderr.count("\n") > 5


def test_an_os_error_that_is_not_wrapped_names_the_file(probe: Call) -> None:
    code, _, stderr = probe(lambda settings: Path("/no/such/file").read_text())
    assert (code, stderr) == (
        125,
        "pluginexec: No such file or directory: '/no/such/file'; run with --debug for a traceback\n",
    )


def test_a_broken_pipe_that_is_not_stdout_is_reported(probe: Call) -> None:
    def fail(settings: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    code, _, stderr = probe(fail)
    assert (code, stderr) == (125, "pluginexec: Broken pipe; run with --debug for a traceback\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_an_interrupt_ends_it_with_130_and_silently(probe: Call, error: type[BaseException]) -> None:
    def interrupt(settings: Any) -> None:
        raise error

    assert probe(interrupt) == (130, "", "")
