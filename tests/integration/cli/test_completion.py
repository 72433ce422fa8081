"""Completion of commands, options and ids.

Real: bash, on a pseudo-terminal and by its completion function; the records on disk; a process that a state names.
zsh and fish: the scripts, and what their protocol brings; where the machine has them, the shells themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec.cli import group
from pluginexec.cli import id_completion as completing
from pluginexec.cli.humanize import now
from pluginexec.host.records import Record, Records, State
from pluginexec.linux.pidfd import start_seconds
from tests.support.layouts import one_directory
from tests.support.probe import environment, finished, on_terminal, pluginexec

Complete = Callable[..., list[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two plugins that run, two that do not, and one whose process has ended."""
    root = tmp_path / "root"
    records = Records(one_directory(root))
    pid = os.getpid()
    states = {
        "web-1": State("running", pid, start_seconds(pid) or 0.0),
        "web-2": State("restarting"),
        "db-1": State("created"),
        "db-2": State("exited", exit_code=0),
        "gone": State("running", pid, 1.0),
    }
    for id, state in states.items():
        records.create(Record(id, now(), "/x.sock", "plugins.moby", ["true"]), {})
        records.write_state(id, state)
    return root


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has ``pluginexec``."""
    command = tmp_path / "bin" / "pluginexec"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pluginexec "$@"\n')
    command.chmod(0o755)
    return environment(PATH=f"{command.parent}:{os.environ['PATH']}", TERM="xterm")


@pytest.fixture
def bash(env: dict[str, str]) -> Complete:
    """Ask bash for the completions of a line's last word."""

    def complete(*words: str, **changes: str) -> list[str]:
        script = """
            source <(pluginexec completion bash)
            [[ $(complete -p pluginexec) == *"-F _pluginexec_completion pluginexec" ]] || exit 1
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _pluginexec_completion pluginexec
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        argv = ["bash", "--norc", "-c", script, "bash", "pluginexec", *words]
        code, stdout, stderr = finished(argv, env | changes)
        assert (code, stderr) == (0, "compopt: not currently executing completion function\n" if stderr else "")
        return stdout.split()

    return complete


def test_keys_on_a_terminal_complete_a_command_and_an_id(env: dict[str, str], root: Path) -> None:
    with on_terminal(
        ["bash", "--norc", "--noprofile", "-i"], env | {"PS1": "> ", "PLUGINEXEC_ROOT": str(root)}
    ) as terminal:
        terminal.wait_for("> ")
        terminal.type("source <(pluginexec completion bash); echo rea''dy\n")
        terminal.wait_for("ready")
        terminal.type("\x15pluginexec unp\t")
        terminal.wait_for("pluginexec unpause ")
        terminal.type("\x15pluginexec kill web-1 we\t")
        terminal.wait_for("web-1 web-2 ")
        terminal.type("\x15exit\n")


def test_commands_are_completed(bash: Complete) -> None:
    assert bash("") == sorted(group.COMMANDS)
    assert bash("st") == ["start", "stats", "stop"]
    assert bash("nothing") == []


def test_options_are_completed_before_the_command_and_after(bash: Complete) -> None:
    assert bash("--log-") == ["--log-format"]
    assert bash("--log-format", "") == ["text", "json"]
    assert "--no-trunc" in bash("ps", "--")
    assert bash("completion", "") == ["bash", "zsh", "fish"]


def test_each_command_gets_the_ids_that_it_can_use(bash: Complete, root: Path) -> None:
    assert sorted(bash("--root", str(root), "inspect", "")) == ["db-1", "db-2", "gone", "web-1", "web-2"]
    assert sorted(bash("--root", str(root), "stop", "")) == ["web-1", "web-2"]
    assert sorted(bash("--root", str(root), "start", "")) == ["db-1", "db-2", "gone"]


def test_the_commands_of_plugin_are_completed_and_get_the_names_that_they_can_use(bash: Complete, root: Path) -> None:
    for name in ("web-1", "db-1", "new"):  # of which the first runs, the second does not, and the third never did
        directory = root / "managed" / name
        directory.mkdir(parents=True)
        (directory / "managed.json").write_text("{}")
    assert bash("plug") == ["plugin"]
    assert bash("plugin", "e") == ["enable"]
    assert sorted(bash("plugin", "")) == sorted(
        ["call", "create", "disable", "enable", "inspect", "logs", "ls", "rm", "set"]
    )
    assert sorted(bash("--root", str(root), "plugin", "inspect", "")) == ["db-1", "new", "web-1"]
    assert sorted(bash("--root", str(root), "plugin", "enable", "")) == ["db-1", "new"]
    assert sorted(bash("--root", str(root), "plugin", "disable", "")) == ["web-1"]
    assert bash("--root", str(root), "plugin", "rm", "new", "n") == []


def test_ids_that_are_there_already_are_left_out(bash: Complete, root: Path) -> None:
    assert bash("--root", str(root), "stop", "web-1", "w") == ["web-2"]


def test_the_root_of_the_environment_counts(bash: Complete, root: Path) -> None:
    assert sorted(bash("start", "db", PLUGINEXEC_ROOT=str(root))) == ["db-1", "db-2"]


def test_completion_changes_nothing_and_says_nothing_where_there_is_no_root(bash: Complete, tmp_path: Path) -> None:
    assert bash("--root", str(tmp_path / "none"), "stop", "") == []
    assert not (tmp_path / "none").exists()


def test_a_broken_record_is_passed_over(bash: Complete, root: Path) -> None:
    (root / "plugins" / "web-2" / "state.json").write_text("{")
    assert bash("--root", str(root), "stop", "") == ["web-1"]


def test_no_error_comes_out_of_completing(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    def fails(self: Any) -> list[str]:
        raise RuntimeError("odd")

    monkeypatch.setattr("pluginexec.host.records.Records.ids", fails)
    with group.cli.make_context("pluginexec", ["--root", str(root)], resilient_parsing=True) as ctx:
        assert completing.complete_id(ctx, group.cli.params[0], "") == []


@pytest.mark.parametrize(("shell", "words"), [("zsh", "pluginexec stop we"), ("fish", "pluginexec stop we")])
def test_what_zsh_and_fish_ask_is_answered(shell: str, words: str, root: Path) -> None:
    script = finished(pluginexec("completion", shell))[1]
    assert f"_PLUGINEXEC_COMPLETE={shell}_complete" in script
    cword = "2" if shell == "zsh" else "we"
    asked = {"_PLUGINEXEC_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": cword}
    code, stdout, stderr = finished(pluginexec(), environment(PLUGINEXEC_ROOT=str(root), **asked))
    assert (code, stderr) == (0, "")
    assert "web-1" in stdout
    assert "web-2" in stdout
    assert "db-1" not in stdout


def test_fish_completes_an_id(env: dict[str, str], root: Path) -> None:
    script = "pluginexec completion fish | source; complete -C 'pluginexec stop we'"
    _, stdout, _ = finished(["fish", "--no-config", "-c", script], env | {"PLUGINEXEC_ROOT": str(root)})
    assert sorted(stdout.split()) == ["web-1", "web-2"]


def test_zsh_completes_an_id(env: dict[str, str], root: Path) -> None:
    changes = {"PS1": "> ", "PLUGINEXEC_ROOT": str(root)}
    with on_terminal(["zsh", "-f", "-i"], env | changes, stderr=subprocess.STDOUT) as terminal:
        terminal.type("autoload -U compinit; compinit -u -D; source <(pluginexec completion zsh); echo rea''dy\n")
        terminal.wait_for("ready\r")
        terminal.type("pluginexec unp\t")
        terminal.wait_for("pluginexec unpause")
        terminal.type("\x15pluginexec kill web-1 we\t")
        terminal.wait_for("web-1 web-2")
        terminal.type("\x15exit\n")
