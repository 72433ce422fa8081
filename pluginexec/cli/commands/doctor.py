"""``pluginexec doctor``: check whether plugins can run on this host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from pluginexec.cli.colour import styled
from pluginexec.cli.foreground import Signals
from pluginexec.cli.globals import Settings
from pluginexec.cli.output import format_option, print_rows, put
from pluginexec.cli.progress import progress
from pluginexec.daemon.target import Target
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check
from pluginexec.doctor.run import run_checks

FIELDS = ("name", "status", "found", "remedy")
_COLOURS = {OK: "green", WARNING: "yellow", FAILURE: "red"}
_INDENT = " " * 23


@click.command(name="doctor")
@format_option(FIELDS)
@click.pass_obj
def command(settings: Settings, format: str) -> int:
    """Check whether plugins can run on this host, and show how to fix what fails.

    Checks the user, the required programs, the kernel, the cgroups, the containerd in use, the root and leftovers in
    it; then runs a tiny plugin, on a temporary containerd if none is running, and removes all that it created. The exit
    code is 0 if no check failed (warnings are allowed), otherwise 1.
    """
    results: list[Check] = []
    with Signals():
        target = Target.of(settings.address, settings.namespace, settings.layout, settings.timeout)
        if format == "table":
            _print_screen(_collected(target, results))
            _print_verdict(results)
        else:
            print_rows((asdict(check) for check in _collected(target, results)), format, [])
    return int(any(check.status == FAILURE for check in results))


def _collected(target: Target, results: list[Check]) -> Iterator[Check]:
    checks = run_checks(target)
    while True:
        with progress("checking this host"):
            check = next(checks, None)
        if check is None:
            return
        results.append(check)
        yield check


def _print_screen(checks: Iterator[Check]) -> None:
    for check in checks:
        put(f"{styled(check.status.ljust(9), _COLOURS[check.status], sys.stdout)}{check.name.ljust(12)}  {check.found}")
        if check.remedy:
            put(f"{_INDENT}-> {check.remedy}")


def _print_verdict(results: list[Check]) -> None:
    failures, warnings = (sum(check.status == status for check in results) for status in (FAILURE, WARNING))
    if failures:
        put(f"Plugins cannot run on this host, or only some of them: {failures} of {len(results)} checks failed.")
    elif warnings:
        put(f"Plugins can run on this host; {warnings} of {len(results)} checks gave a warning.")
    else:
        put("Plugins can run on this host.")
