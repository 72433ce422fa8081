"""The command line in processes of its own: exit codes, standard streams, Ctrl-C and the terminal.

Real: the console script. Where a command must do something odd, it is a probe. ``tests/unit/cli`` has what does not
depend on a process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pluginexec import __version__
from tests.support.probe import environment, finished, on_terminal, pluginexec, probe


def test_the_version_and_the_help_go_to_stdout() -> None:
    assert finished(pluginexec("--version")) == (0, f"pluginexec {__version__}\n", "")
    code, stdout, stderr = finished(pluginexec())
    assert (code, stderr) == (0, "")
    assert stdout.startswith("Usage: pluginexec ")


def test_wrong_usage_is_one_line_on_stderr_and_125() -> None:
    line = "pluginexec: no such command: zzz; see 'pluginexec --help'\n"
    assert finished(pluginexec("zzz")) == (125, "", line)


@pytest.mark.parametrize(("body", "code"), [("return 42", 42), ("raise SystemExit(7)", 7)])
def test_the_exit_code_is_that_of_the_command(body: str, code: int) -> None:
    assert finished(probe(body)) == (code, "", "")


def test_ctrl_c_ends_it_with_130_and_silently() -> None:
    assert finished(probe("import os; os.kill(os.getpid(), 2)")) == (130, "", "")


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


def test_a_pipe_that_closes_while_an_error_is_printed_is_silent() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert finished(pluginexec("zzz"), stdout=write, stderr=subprocess.STDOUT) == (141, "", "")
    finally:
        os.close(write)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "argv",
    [
        pluginexec("--help"),
        pluginexec("--version"),
        pluginexec("ps", "--help"),
        pluginexec("completion", "bash"),
        pluginexec("ps"),
    ],
)
def test_a_full_disk_is_one_line(argv: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        code, _, stderr = finished(argv, environment(PYTHONUNBUFFERED=unbuffered), stdout=full)
    assert (code, stderr) == (125, "pluginexec: cannot write to stdout: No space left on device\n")


def test_what_the_encoding_cannot_show_is_shown_as_its_escape() -> None:
    env = environment(PYTHONIOENCODING="ascii")
    assert finished(probe("print('\\u2026 \\udc80')"), env) == (0, "\\u2026 \\udc80\n", "")


def test_an_error_is_red_on_a_terminal_alone() -> None:
    body = "from pluginexec import NotFound; raise NotFound('zzz')"
    with on_terminal(probe(body), environment(TERM="xterm")) as terminal:
        pass
    assert terminal.text.strip() == "\x1b[31mpluginexec:\x1b[0m zzz"
    assert finished(probe(body), environment(TERM="xterm"))[2].strip() == "pluginexec: zzz"
