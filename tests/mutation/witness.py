"""A pytest plugin for the runs of the controls: it writes down, a line of JSON each, what a run really did."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from pluginexec import Containerd

FILE = "witness.jsonl"
_PATH = Path(FILE).absolute()  # before a test goes elsewhere


def _note(**fact: str) -> None:
    with _PATH.open("a", encoding="utf-8") as file:
        file.write(json.dumps(fact) + "\n")


def pytest_collection_finish() -> None:
    """Tell which pluginexec the tests have imported: the copy's, or an installed one."""
    _note(imported=str(sys.modules["pluginexec"].__file__))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell how each test ended; set-up and clean-up only if they failed."""
    if report.when == "call" or report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        _note(test=report.nodeid, when=str(report.when), outcome=report.outcome, says=crash.message if crash else "")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Tell where each containerd is that the fixtures start."""
    value = yield
    if isinstance(value, Containerd):
        _note(containerd=str(value.log_path.parent))
    return value
