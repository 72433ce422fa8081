"""How many cases each kind of input gets, and what holds of every error that one of them ends with."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pluginexec import PluginExecError
from tests.fuzz.mutator import Mutator

CASES = int(os.environ.get("PLUGINEXEC_FUZZ_CASES", "1000"))
"""How many inputs each function gets; ``tox -e stress`` gives 10,000."""
many = settings(
    max_examples=CASES, deadline=None, derandomize=False, database=None, suppress_health_check=list(HealthCheck)
)
"""The settings of each test of hypothesis; its time-out is pytest's."""
_SHOWN = 2000
T = TypeVar("T")


def pieced(pieces: Sequence[str], longest: int) -> st.SearchStrategy[str]:
    """Make texts of up to ``longest`` pieces: by one draw, because ten thousand lists of draws take minutes."""
    return st.binary(max_size=longest).map(lambda data: "".join(pieces[byte % len(pieces)] for byte in data))


def feed(dice: random.Random, corpus: Sequence[bytes], check: Callable[[bytes], object]) -> None:
    """Check ``CASES`` mutated cases; the one that fails is shown."""
    for number, case in enumerate(Mutator(dice, corpus).cases(CASES)):
        try:
            check(case)
        except Exception as error:
            raise AssertionError(f"case {number}, {len(case)} bytes: {case[:_SHOWN]!r}") from error


def answer(call: Callable[[], T]) -> T | PluginExecError:
    """Return what ``call`` returns, or the error of the tree that it raises; anything else fails the test."""
    try:
        return call()
    except PluginExecError as error:
        assert_clear(error)
        return error


def assert_clear(error: PluginExecError) -> None:
    """Check that an error is one line that drives no terminal, and that it gets through a pickle."""
    message = str(error)
    assert message.isprintable()
    assert message
    again: Any = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == message
