"""The error tree.

Real: everything; no command runs.
"""

from __future__ import annotations

import copy
import pickle

import pytest

from pluginexec import errors
from pluginexec.errors import STDERR_KEPT, NotFound, PluginExecError, shown
from tests.support.hostile import HUGE, nested

NAMES = (
    "NotFound",
    "AlreadyExists",
    "InvalidArgument",
    "FailedPrecondition",
    "Unavailable",
    "DeadlineExceeded",
    "PermissionDenied",
    "Unknown",
)
CLASSES = (PluginExecError, *PluginExecError.__subclasses__())


class NamelessNotFound(NotFound):
    """A subclass that a user might make."""


def test_the_tree_has_containerds_names_and_one_level() -> None:
    assert {kind.__name__ for kind in PluginExecError.__subclasses__()} == {*NAMES}
    assert all(getattr(errors, name).__bases__ == (PluginExecError,) for name in NAMES)


@pytest.mark.parametrize("kind", [*CLASSES, NamelessNotFound])
def test_an_error_comes_out_of_a_pickle_whole(kind: type[PluginExecError]) -> None:
    error = kind(
        "it broke", operation="create", id="a", argv=["ctr", "run"], returncode=-9, stderr="ctr: no", hint="mend it"
    )
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert vars(again) == vars(error)
        assert again.args == error.args
        assert str(again) == str(error)


def test_an_error_knows_what_was_tried() -> None:
    error = NotFound("x", operation="signal", id="a", argv=["ctr"], returncode=1, stderr="ctr: x", hint="h")
    assert (error.operation, error.id, error.argv) == ("signal", "a", ("ctr",))
    assert (error.returncode, error.stderr, error.hint) == (1, "ctr: x", "h")


def test_an_error_of_no_command_says_so() -> None:
    error = NotFound("x")
    assert (error.operation, error.id, error.argv) == (None, None, ())
    assert (error.returncode, error.stderr, error.hint) == (None, "", None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(NotFound("no such task"), "no such task", id="bare"),
        pytest.param(NotFound("no such task", operation="signal"), "signal: no such task", id="operation"),
        pytest.param(NotFound("no such task", id="a"), "'a': no such task", id="id"),
        pytest.param(NotFound("no task", operation="signal", id="a"), "signal 'a': no task", id="both"),
        pytest.param(NotFound("one\ntwo\r\n\n\tthree "), "one two three", id="lines"),
        pytest.param(NotFound("no", operation="run", id="a\nb"), "run 'a\\nb': no", id="newline-in-id"),
        pytest.param(NotFound(""), "", id="empty"),
        pytest.param(NotFound("a\x1b[2Jb\0\x9b\u202e\udcff é"), "a\\x1b[2Jb\\x00\\x9b\\u202e\\udcff é", id="terminal"),
        pytest.param(NotFound("no", id="\x1b[2J"), "'\\x1b[2J': no", id="terminal-in-id"),
        pytest.param(NotFound("no", id="x" * 999), f"'{'x' * 100}': no", id="long-id"),
    ],
)
def test_the_message_is_one_line_of_what_was_tried_and_what_came_back(error: PluginExecError, message: str) -> None:
    assert str(error) == message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("a\n", r"'a\n'", id="text"),
        pytest.param("x" * 10**6, repr("x" * 100), id="megabyte"),
        pytest.param(b"x" * 10**6, repr(b"x" * 100), id="bytes"),
        pytest.param(None, "None", id="none"),
        pytest.param(-1.5, "-1.5", id="float"),
        pytest.param(42, "42", id="int"),
        pytest.param(HUGE, "a value of type int", id="int-that-python-does-not-print"),
        pytest.param(nested(5000), "a value of type list", id="nested"),
    ],
)
def test_a_value_is_shown_in_short_whatever_it_is(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_end_of_a_long_stderr_is_kept() -> None:
    assert NotFound("x", stderr="a" * STDERR_KEPT + "the cause").stderr.endswith("aaathe cause")
    assert len(NotFound("x", stderr="a" * STDERR_KEPT * 2).stderr) == STDERR_KEPT
