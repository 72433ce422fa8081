"""Running the checks: one that raises does not stop the others."""

from __future__ import annotations

import pytest

from pluginexec.daemon.target import Target
from pluginexec.doctor import machine_checks, run
from pluginexec.doctor.check import FAILURE, OK, Check


def test_a_check_that_cannot_look_has_failed_and_the_others_go_on(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_nothing(target: Target) -> Check:
        raise OSError("no\nluck")

    monkeypatch.setattr(run, "CHECKS", (check_nothing, machine_checks.check_python))
    broken, python = run.run_checks(target)
    assert broken == Check("nothing", FAILURE, "could not be checked: OSError: no luck")
    assert python.status == OK
