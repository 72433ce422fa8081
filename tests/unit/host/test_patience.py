"""Waiting on where something cannot be found out for now. Real: everything; the pauses are made short."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from pluginexec.errors import DeadlineExceeded, FailedPrecondition, NotFound, PluginExecError, Unavailable
from pluginexec.host import patience
from pluginexec.host.patience import patient, patiently

Ask = Callable[[], bool]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def answers(*errors: PluginExecError) -> Ask:
    left = list(errors)

    def ask() -> bool:
        if left:
            raise left.pop(0)
        return True

    return ask


def test_what_may_pass_is_waited_for_with_one_line_and_longer_pauses(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert patiently("x", answers(*[Unavailable("away"), DeadlineExceeded("hangs")] * 10))
    assert [record.getMessage() for record in caplog.records] == ["x: its state cannot be found out now, waiting: away"]
    assert len(pauses) == 20
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1] == patience.LONGEST_PAUSE


@pytest.mark.parametrize("error", [NotFound("gone"), FailedPrecondition("no ctr")])
def test_other_errors_are_raised_at_once(pauses: list[float], error: PluginExecError) -> None:
    with pytest.raises(type(error)):
        patiently("x", answers(Unavailable("away"), error))
    with pytest.raises(type(error)):
        patient("x", answers(error))()
    assert len(pauses) == 1


def test_a_patient_question_is_no_until_it_is_answered_and_not_asked_in_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    asked = patient("x", answers(Unavailable("away"), Unavailable("away")))
    with caplog.at_level(logging.WARNING):
        assert [asked(), asked(), asked()] == [False, False, False]  # one question and its pause
        now += 10
        assert not asked()
        now += 10
        assert asked()
    assert len(caplog.records) == 1
