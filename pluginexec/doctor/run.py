"""Run all checks.

Each check examines one thing and returns a ``Check``. Only the last one, which runs a tiny plugin, changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pluginexec.daemon.target import Target
from pluginexec.doctor import machine_checks, root_checks, smoke_test
from pluginexec.doctor.check import FAILURE, Check
from pluginexec.errors import PluginExecError, one_line

CHECKS: tuple[Callable[[Target], Check], ...] = (*machine_checks.CHECKS, *root_checks.CHECKS, smoke_test.check_plugin)


def run_checks(target: Target) -> Iterator[Check]:
    """Run all checks, one after the other."""
    for check in CHECKS:
        yield run_check(check, target)


def run_check(check: Callable[[Target], Check], target: Target) -> Check:
    """Return the result of a check; an exception is a failure."""
    try:
        return check(target)
    except Exception as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        message = str(error) if isinstance(error, PluginExecError) else f"{type(error).__name__}: {error}"
        return Check(name, FAILURE, f"could not be checked: {one_line(message)}", getattr(error, "hint", None) or "")
