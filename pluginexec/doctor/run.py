"""The doctor: can plugins run here, and what to do if not.

Each check looks at one thing and returns a ``Check``; all but the last, which runs a tiny plugin, change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pluginexec.doctor import machine_checks as machinechecks
from pluginexec.doctor import root_checks as rootchecks
from pluginexec.doctor import trialcheck
from pluginexec.doctor.check import FAILURE, Check, Place
from pluginexec.errors import PluginExecError, one_line

CHECKS: tuple[Callable[[Place], Check], ...] = (*machinechecks.CHECKS, *rootchecks.CHECKS, trialcheck.check_plugin)


def checkup(place: Place) -> Iterator[Check]:
    """Make all checks, one after the other."""
    for check in CHECKS:
        yield guarded(check, place)


def guarded(check: Callable[[Place], Check], place: Place) -> Check:
    """Return what a check finds; one that cannot look has failed."""
    try:
        return check(place)
    except Exception as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        said = str(error) if isinstance(error, PluginExecError) else f"{type(error).__name__}: {error}"
        return Check(name, FAILURE, f"could not be looked at: {one_line(said)}", getattr(error, "hint", None) or "")
