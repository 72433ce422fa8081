"""Suggestions: only for typing errors; a word of docker's has an answer of its own."""

from __future__ import annotations

import pytest

from pluginexec.cli import group
from pluginexec.cli.commands.daemon import command as daemon
from pluginexec.cli.commands.plugin import command as plugin
from pluginexec.cli.commands.run import command as run
from pluginexec.cli.docker_words import ANSWERS
from pluginexec.cli.suggestions import did_you_mean
from tests.unit.cli.conftest import Call


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("strat", "start"),
        ("sp", "ps"),
        ("pss", "ps"),
        ("lgos", "logs"),
        ("inspcet", "inspect"),
        ("unpasue", "unpause"),
        ("RUN", "run"),
        ("killl", "kill"),
        ("competlion", "completion"),
        ("comletoin", "completion"),
    ],
)
def test_a_typing_error_gets_the_word_that_was_meant(word: str, meant: str) -> None:
    assert did_you_mean(word, group.COMMANDS) == f"; did you mean {meant}?"


@pytest.mark.parametrize(
    "word",
    ["restart", "top", "port", "update", "zzz", "x", "", "events-of-x", "unstop", "reattach", "info" * 10_000],
)
def test_another_word_gets_none(word: str) -> None:
    assert did_you_mean(word, group.COMMANDS) == ""


@pytest.mark.parametrize("word", sorted(word for word in ANSWERS if " " not in word and not word.startswith("-")))
def test_a_word_of_dockers_is_answered_in_one_line(call: Call, word: str) -> None:
    code, _, stderr = call(word, "x")
    assert code == 125
    assert stderr == f"pluginexec: no such command: {word}; {ANSWERS[word]}; see 'pluginexec --help'\n"
    assert "did you mean" not in stderr


def test_a_word_that_became_a_command_or_an_option_has_left_the_table() -> None:
    names = {
        *group.COMMANDS,
        *(f"plugin {name}" for name in plugin.helps),
        *(f"daemon {name}" for name in daemon.commands),
    }
    options = {name for each in run.params for name in each.opts}
    assert (names | {f"run {name}" for name in options}).isdisjoint(ANSWERS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plugin", "install", "x"], "plugin: no such command: install; use 'pluginexec plugin create NAME DIR', then"),
        (["plugin", "restart"], "plugin: no such command: restart; see 'pluginexec plugin --help'"),
        (["daemon", "start"], "daemon: no such command: start; it is started by the first command that needs it"),
        (["daemon", "sotp"], "daemon: no such command: sotp; did you mean stop? see 'pluginexec daemon --help'"),
        (["run", "-it", "x"], "run: no such option: -i; a plugin has neither terminal nor stdin; 'pluginexec exec -it"),
        (
            ["create", "--publish", "x"],
            "create: no such option: --publish; a plugin is on the host's network or on none: ",
        ),
        (["ps", "-t"], "ps: no such option: -t; see 'pluginexec ps --help'"),
        (["--context", "x", "ps"], "no such option: --context; use '--address SOCK' for another containerd"),
        (["run", "--evn", "x"], "run: no such option: --evn; did you mean --env? see 'pluginexec run --help'"),
        (["ps", "--quite"], "ps: no such option: --quite; did you mean --quiet? see 'pluginexec ps --help'"),
        (["ps", "--watch"], "ps: no such option: --watch; see 'pluginexec ps --help'"),
    ],
)
def test_groups_and_options_do_the_same(call: Call, arguments: list[str], message: str) -> None:
    code, stdout, stderr = call(*arguments)
    assert (code, stdout, stderr.count("\n")) == (125, "", 1)
    assert message in stderr
