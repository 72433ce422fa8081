"""Ids, namespaces, signals and settings, as hypothesis and the mutator make them: refused before anything is run.

A runner that runs nothing remembers the commands. An id that is accepted stands in them as a word of its own.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginexec import Executor, InvalidArgument, PluginExecError, Remote, Unavailable, default_spec
from pluginexec.containerd.ctr import Completed, Watch
from pluginexec.validation import check_id, check_namespace, parse_signal
from tests.fuzz.cases import answer, feed, many, pieced
from tests.support.hostile import HUGE, nested

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(300)]

# containerd's own rule, written down a second time; and what ctr 2.1 takes for a call for help.
IDENTIFIER = re.compile(r"\A[A-Za-z0-9]+([._-][A-Za-z0-9]+)*\Z")
PLAIN = "plain0"
# fmt: off
CORPUS = [
    b"plugin-1", b"a.b_c-d", b"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", b"help", b"h", b"x",
    b"../../etc/passwd", b"$(touch x)", b"-rf", b"--", b"a;b", b"`id`", b"SIGTERM", b"9", b"RTMIN+3", b"plugins.moby",
]
WORDS = [
    "a", "Z9", ".", "_", "-", "--", "h", "help", " ", "\n", "/", "..", "$(x)", "`x`", ";", "'", "\0", "é", "\ud800",
]
SIGNALS = ["SIG", "TERM", "RTMIN", "RTMAX", "+", "-1", "9", "99", "0", "\n", "KILL", "term", "²", "9" * 5000]
ODD = [
    None, True, 0, -1, 15, 64, 65, 1.5, float("nan"), float("inf"), HUGE, -HUGE, 1e300, b"a", (), {}, nested(5000),
    object(), lambda: None, "a" * 77, "a" * 100_000, signal.SIGTERM, Path("/a"), "unix:///s", "\x1b[2J",
]
# fmt: on
names = st.one_of(pieced(WORDS, 6), pieced(["a", "B", "3", ".", "-", "_"], 80), st.text(max_size=6))
anything = st.one_of(names, names, st.sampled_from(ODD))
signals = st.one_of(pieced(SIGNALS, 3), st.integers(), st.sampled_from(ODD))


class Recorder:
    """A runner that runs nothing and remembers; whatever it is asked to do succeeds."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        self.commands.append(list(argv))
        return Completed(tuple(argv), 0, "TASK PID STATUS\n", "")

    def start(self, argv: Sequence[str], *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        raise Unavailable("nothing runs here")


def check_name(name: Any) -> None:
    """Check ids and namespaces against containerd's rule."""
    fits = isinstance(name, str) and len(name) <= 76 and bool(IDENTIFIER.match(name)) and name not in ("h", "help")
    for check in (check_id, check_namespace):
        result = answer(lambda check=check: check(name))  # type: ignore[misc]
        assert (result == name) if fits else isinstance(result, InvalidArgument)


def check_signal(value: Any) -> None:
    """Check that a signal is one of this machine's, or refused."""
    number = answer(lambda: parse_signal(value))
    assert isinstance(number, InvalidArgument) or (type(number) is int and 1 <= number <= signal.SIGRTMAX)


def check_remote(setting: str, value: Any) -> None:
    """Check that a remote of any settings is refused, or can be used."""
    arguments = {"address": "/s", "runner": Recorder(), setting: value}
    remote = answer(lambda: Remote(**arguments))
    if isinstance(remote, Remote):
        client = remote.new_client("n")
        answer(client.tasks)
        answer(lambda: client.kill("a", 9))
        if not remote.address.strip().startswith("/"):
            assert type(remote.listens()) is bool


@many
@given(anything, signals, st.sampled_from(["address", "ctr", "runtime", "timeout"]))
def test_whatever_is_given_for_a_name_a_signal_or_a_setting_only_what_fits_is_accepted(
    name: Any, value: Any, setting: str
) -> None:
    check_name(name)
    check_signal(value)
    check_remote(setting, name)


def test_whatever_befell_a_name_a_signal_or_a_setting_only_what_fits_is_accepted(dice: random.Random) -> None:
    def check(case: bytes) -> None:
        text = case.decode(errors="surrogateescape")
        check_name(text)
        check_signal(text)
        check_remote(dice.choice(("address", "ctr", "runtime", "timeout")), text)

    feed(dice, CORPUS, check)


class Bench:
    """An executor over a runner that runs nothing, and the commands that a plain id leads to."""

    def __init__(self, root: Path, spec: dict[str, Any]) -> None:
        self.root = root
        self.runner = Recorder()
        self.executor = Executor(root, Remote("/s", runner=self.runner))
        self.operations: list[Callable[[Any], object]] = [
            lambda id: self.executor.create(id, spec),
            lambda id: self.executor.restore(id),
            lambda id: self.executor.is_running(id),
            lambda id: self.executor.signal(id, "TERM"),
            lambda id: self.executor.stop(id, timeout=0),
            lambda id: self.executor.wait(id, timeout=0),
            lambda id: self.executor.exit_status(id),
        ]
        self.plain = [self.commands_of(operate, PLAIN) for operate in self.operations]

    def commands_of(self, operate: Callable[[Any], object], id: Any) -> list[list[str]]:
        self.runner.commands.clear()
        answer(lambda: operate(id))
        return list(self.runner.commands)

    def check(self, number: int, id: Any) -> None:
        """Check that an id leads an operation to the commands of a plain one, in its place; a bad one to none."""
        good = not isinstance(answer(lambda: check_id(id)), PluginExecError)
        expected = [[self._replaced(word, id) for word in argv] for argv in self.plain[number]] if good else []
        assert self.commands_of(self.operations[number], id) == expected

    def _replaced(self, word: str, id: str) -> str:
        directory = f"{self.root}/containers/"
        if word == PLAIN:
            return id
        return word.replace(f"{directory}{PLAIN}/", f"{directory}{id}/").replace(f"id=={PLAIN},", f"id=={id},")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench, in a process that cannot start another."""

    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("os.urandom", bytes)  # the mark of a start, which is no other's
    (tmp_path / "rootfs").mkdir()
    bench = Bench(tmp_path / "root", default_spec(tmp_path / "rootfs", ["/bin/true"], id="p"))
    for module, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn"), (os, "fork"), (os, "execve")):
        monkeypatch.setattr(module, name, refuse)
    yield bench
    monkeypatch.undo()
    bench.executor.close()


def test_a_plain_id_stands_behind_the_dashes_in_a_filter_or_in_a_path_of_the_root(bench: Bench) -> None:
    commands = [argv for commands in bench.plain for argv in commands]
    assert {argv[0] for argv in commands} == {"ctr"}
    assert any(argv[-2:] == ["--", PLAIN] for argv in commands)
    for argv in commands:
        flags = argv[: argv.index("--")] if "--" in argv else argv
        assert argv[len(flags) :] in ([], ["--", PLAIN])
        rest = "".join(flags).replace(f"{bench.root}/containers/{PLAIN}/", "").replace(f"id=={PLAIN},", "")
        assert PLAIN not in rest


@many
@given(st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 6]), anything)
def test_whatever_id_an_executor_gets_a_bad_one_runs_nothing_and_a_good_one_is_one_word(
    bench: Bench, number: int, id: Any
) -> None:
    bench.check(number, id)


def test_whatever_befell_an_id_a_bad_one_runs_nothing_and_a_good_one_is_one_word(
    dice: random.Random, bench: Bench
) -> None:
    count = len(bench.operations)
    feed(dice, CORPUS, lambda case: bench.check(dice.randrange(count), case.decode(errors="surrogateescape")))
