"""Run the tests on the containerds of Debian's newer suites, one after the other: ``python -m tests.compat``.

Run it from the repository's root, as root; ``--suite NAME`` first takes that one alone, and arguments go to pytest.
It ends with one line for each version and one for all, and with 0 if all tests passed on all of them. The packages are
kept in ``.tox/debian``; remove that to have them fetched anew.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from types import FrameType

import pytest

from pluginexec.containerd.versions import TESTED, series
from tests.compat.selected import Selected, select

SUITES = {"trixie": "1.7", "sid": "2.1"}
"""Debian's newer suites, and the series of containerd that they had when this was written."""
DESELECTED = "not fuzz and not control"
"""Neither kind of test depends on the version of containerd."""
LAST_FAILED = ("--last-failed", "--last-failed-no-failures", "none")
PASSED = "passed"
INTERRUPTED = "interrupted"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_pytest(arguments: list[str], environment: Mapping[str, str]) -> tuple[int, bool]:
    """Run pytest to its end; return its exit code, and whether we were asked to end meanwhile.

    It is in a session of its own, and each signal is handed on as one SIGINT: upon that, and only once, it cleans up.
    """
    child: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if child:
            child.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, hand_on) for number in _SIGNALS}
    try:
        argv = [sys.executable, "-m", "pytest", "-m", DESELECTED, *arguments]
        child = subprocess.Popen(argv, env=environment, start_new_session=True)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code, bool(asked)


def announce(suite: str, selected: Selected) -> None:
    """Print which containerd is under test, and whether it is one that we expected."""
    print(f"\n===== {selected.name} of Debian {suite}, in {selected.directory} =====", flush=True)
    found = series(selected.version)
    if found not in TESTED:
        print(
            f"Debian {suite} has moved on from {SUITES[suite]} to {found}, which was never tried: the tests that want "
            f"no warning fail. If no other does, add it to TESTED in pluginexec/containerd/versions.py",
            flush=True,
        )


def run_suite(suite: str, arguments: list[str]) -> tuple[str, str]:
    """Run the tests on the containerd of one suite; return what was tested, and how that went."""
    try:
        selected = select(suite)
    except RuntimeError as error:
        return f"containerd {SUITES[suite]} of Debian {suite}", f"failed, nothing was run: {error}"
    announce(suite, selected)
    own_cache = ["-o", f"cache_dir=.pytest_cache/{suite}"]
    code, interrupted = run_pytest([*own_cache, *arguments], selected.environment)
    if code == pytest.ExitCode.TESTS_FAILED and not interrupted:
        print("once more those that failed: the machine may have been busy", flush=True)
        code, interrupted = run_pytest([*own_cache, *LAST_FAILED, *arguments], selected.environment)
    failed = INTERRUPTED if interrupted else f"failed: pytest ended with {code}"
    return f"{selected.name} of Debian {suite}", failed if code or interrupted else PASSED


def main(arguments: list[str]) -> int:
    """Run the tests on all suites; return the exit code."""
    suites = list(SUITES)
    if arguments[:1] == ["--suite"]:
        suites, arguments = arguments[1:2], arguments[2:]
        if not set(suites) <= set(SUITES) or not suites:
            print(f"--suite must be one of {', '.join(SUITES)}", file=sys.stderr)
            return 2
    outcomes = {}
    for suite in suites:
        tested, outcome = run_suite(suite, arguments)
        outcomes[tested] = outcome
        if outcome == INTERRUPTED:
            break
    code, result = 1, "not all passed"
    if INTERRUPTED in outcomes.values():
        code, result = 130, INTERRUPTED
    elif set(outcomes.values()) == {PASSED}:
        code, result = 0, "all passed"
    print("", *(f"{tested}: {outcome}" for tested, outcome in outcomes.items()), result, sep="\n", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
