"""What ``ctr`` prints, as hypothesis and the mutator make them: errors of the tree only, and never a hang.

Nothing runs here: a runner returns what was made up. What is mutated was printed by real ones.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginexec import PluginExecError, Remote, Unavailable
from pluginexec.containerd import error_messages as complaints
from pluginexec.containerd.client import (
    Client,
    parse_client_version,
    parse_exit_code,
    parse_server_version,
    parse_tasks,
)
from pluginexec.containerd.ctr import Completed, Watch
from pluginexec.containerd.error_messages import error_from_stderr, error_text
from pluginexec.containerd.event_parser import parse_line, parse_time
from pluginexec.types import Task
from tests.fuzz.cases import CASES, answer, assert_clear, feed, many, pieced
from tests.fuzz.corpus import CTR_OUTPUTS, EVENT_LINES
from tests.fuzz.mutator import Mutator
from tests.unit.containerd.test_error_messages import TEXTS, with_and_without

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(300)]

COMPLAINTS = [f"ctr: {text}\n" for texts in TEXTS.values() for row in texts for text in with_and_without(row)]
CORPUS = [*CTR_OUTPUTS * 4, *(text.encode() for text in COMPLAINTS)]
# fmt: off
PIECES = [
    "ctr: ", "TASK PID STATUS\n", "Client:", "Server:", "Version:", "exit with non-zero exit code ", "a 1 RUNNING",
    " ", "\n", "\t", "\r\n", "\x1b[2J", "\0", "\u2028", "\x85", "\u202e", "\ud800", "\ufffd", "٣", "²", "exec: ", "42",
    "in namespace ", '"', "-1", "fz-a", "1.6.20~ds1", "not found", "already exists", "256",
    f"exit with non-zero exit code {'9' * 5000}",
]
# fmt: on
outputs = st.one_of(pieced(PIECES, 8), pieced(PIECES, 8), st.text(max_size=20))
returncodes = st.sampled_from([0, 0, 0, 1, 3, -9, 255])


def check_parsers(text: str) -> None:
    """Check each parser on one text, whichever it was meant for."""
    tasks = answer(lambda: parse_tasks(text))
    if not isinstance(tasks, PluginExecError):
        assert all(type(task) is Task and id == task.id and not id.isspace() and id for id, task in tasks.items())
        assert all(0 <= task.pid < 10**10 for task in tasks.values())
    code = parse_exit_code(text)
    assert code is None or 0 <= code <= 255, "ExitStatus promises it"
    for parse in (parse_server_version, parse_client_version):
        version = answer(lambda parse=parse: parse(text))  # type: ignore[misc]
        assert isinstance(version, PluginExecError) or (version.isascii() and version.isprintable() and version)
    assert error_text(text) == " ".join(error_text(text).split())
    error = error_from_stderr(text, argv=["ctr", "run"], returncode=1, operation="run", id="a")
    assert_clear(error)
    assert len(str(error)) < 10_000


def decoded(output: bytes) -> str:
    """Decode as the runner does."""
    return output.decode(errors="replace")


@many
@given(outputs)
def test_whatever_ctr_prints_the_parsers_raise_nothing_but_the_tree(text: str) -> None:
    check_parsers(text)


def test_whatever_befell_a_real_output_the_parsers_raise_nothing_but_the_tree(dice: random.Random) -> None:
    feed(dice, CORPUS, lambda output: check_parsers(decoded(output)))


class Printer:
    """A runner whose every command prints the same."""

    def __init__(self) -> None:
        self.answer: tuple[int, str, str] = (0, "", "")

    def run(self, argv: Sequence[str], timeout: float, watch: Watch = None) -> Completed:
        return Completed(tuple(argv), *self.answer)

    def start(self, argv: Sequence[str], *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        raise Unavailable("nothing runs here")


Operation = Callable[[Client], object]
OPERATIONS: list[Operation] = [
    lambda client: client.run("a", config=Path("/c"), runc_root=Path("/r"), pid_file=Path("/p"), io=("--null-io",)),
    lambda client: client.tasks(),
    lambda client: client.containers(),
    lambda client: client.kill("a", 9),
    lambda client: client.delete_task("a"),
    lambda client: client.delete_container("a"),
    lambda client: client.delete_runtime_state("a", Path("/r")),
    lambda client: client.namespaces(),
    lambda client: client.server_version(),
    lambda client: client.check_versions(),
]


def check_client(operate: Operation, returncode: int, stdout: str, stderr: str) -> None:
    """Check one method of a client whose ``ctr`` prints that."""
    runner = Printer()
    runner.answer = (returncode, stdout, stderr)
    client = Remote("/s", runner=runner).new_client("n")
    result = answer(lambda: operate(client))
    # check_versions raises nothing, ever.
    assert returncode == 0 or isinstance(result, PluginExecError) or operate is OPERATIONS[-1]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ten thousand versions that were never tried out of the log."""
    monkeypatch.setattr("pluginexec.containerd.client.warn_if_untested", lambda program, version: None)


@many
@given(st.sampled_from(OPERATIONS), returncodes, outputs)
def test_whatever_a_command_returns_a_client_raises_nothing_but_the_tree(
    operate: Operation, returncode: int, text: str
) -> None:
    check_client(operate, returncode, text, text)


def test_whatever_befell_two_real_outputs_a_client_raises_nothing_but_the_tree(dice: random.Random) -> None:
    others = Mutator(dice, CORPUS).cases(CASES)

    def check(output: bytes) -> None:
        returncode = dice.choice((0, 0, 1, 3, -9))
        check_client(dice.choice(OPERATIONS), returncode, decoded(output), decoded(next(others)))

    feed(dice, CORPUS, check)


# Time: hypothesis does not find the input on which an expression takes the square of its length, so it is built.

LENGTH = 100_000
LIMIT = 10.0
"""Seconds for one hostile text of ``LENGTH``; the worst takes a third of one, and took 16 where the square was left."""
UNITS = [
    " ",
    "\n",
    "\t",
    "a",
    "9",
    "a ",
    " 9",
    "9 a ",
    "\n ",
    "ctr: ",
    "\nctr: ",
    "Server:",
    "\n  Version:",
    '"',
    "[",
    "{",
]
STARTS = ["", "TASK PID STATUS\na", "TASK PID STATUS\na 1 b", "Server:", "Server:\n Version:", "ctr: ", "exit code "]


def literals() -> Iterator[str]:
    """Return the literal parts of all the patterns of complaints: what, repeated, makes them start over."""
    for pattern, _, _ in complaints._TABLE:
        for part in pattern.replace("\\S+", "\0").replace(".*", "\0").replace("|", "\0").split("\0"):
            literal = "".join(char for char in part if char not in '\\()?^*+$"')
            if literal.strip():
                yield literal.removeprefix(" ") if literal.endswith(" ") else literal


def assert_fast(parse: Callable[[], object], what: str) -> None:
    begun = time.monotonic()
    with contextlib.suppress(PluginExecError, ValueError):
        parse()
    assert time.monotonic() - begun < LIMIT, f"{what} takes too long"


@pytest.mark.parametrize("literal", sorted(set(literals())))
def test_no_pattern_of_complaints_takes_the_square_of_a_texts_length(literal: str) -> None:
    text = "ctr: " + literal * (LENGTH // len(literal))
    assert_fast(lambda: error_from_stderr(text, argv=["c"], returncode=1, operation="x", id=None), literal)


@pytest.mark.parametrize("unit", UNITS)
def test_no_parser_takes_the_square_of_a_texts_length(unit: str) -> None:
    for start in STARTS:
        text = start + unit * (LENGTH // len(unit)) + "!"
        for parse in (parse_tasks, parse_exit_code, parse_server_version, parse_client_version, error_text):
            assert_fast(lambda parse=parse, text=text: parse(text), f"{parse.__name__} of {start!r}, {unit!r}")  # type: ignore[misc]


@pytest.mark.parametrize("unit", UNITS)
def test_no_event_line_takes_the_square_of_its_length(unit: str) -> None:
    for start in (b"", EVENT_LINES[0][:40], EVENT_LINES[0][:80], *(line[:-4] for line in EVENT_LINES[-3:-1])):
        line = start + unit.encode() * (LENGTH // len(unit))
        assert_fast(lambda line=line: parse_line(line), repr((start, unit)))  # type: ignore[misc]
    assert_fast(lambda: parse_time("2026-11-23T13:29:04." + unit * LENGTH), f"a time of {unit!r}")
