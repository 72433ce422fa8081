"""``python -m tests.compat``: what it puts under test, how it sums up, and that Ctrl-C cleans up.

Real: pytest, and the signals. Scripts play Debian's containerd; the runner itself fetches the real one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginexec.containerd.versions import TESTED
from tests.compat import __main__ as runner
from tests.compat.selected import COMMANDS, VERSION_VARIABLE, Selected, selected_from
from tests.support.fakes import fake_command
from tests.support.harness import PATIENCE, wait_until

REPOSITORY = Path(__file__).parents[2]


# What is put under test.


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The ``usr/bin`` of a containerd 2.2.0 made of scripts."""
    directory = tmp_path / "bin"
    directory.mkdir()
    fake_command(directory / "containerd", "echo containerd github.com/containerd/containerd/v2 2.2.0 deadbeef")
    fake_command(directory / "ctr", "echo ctr github.com/containerd/containerd/v2 2.2.0")
    fake_command(directory / "containerd-shim-runc-v2", r"printf '%s:\n  Version:  2.2.0\n  Revision:\n' $0")
    return directory


def test_the_tree_is_first_on_the_path_and_the_tests_are_told_its_version(tree: Path) -> None:
    selected = selected_from(tree)
    path = selected.environment["PATH"]
    assert [shutil.which(command, path=path) for command in COMMANDS] == [str(tree / command) for command in COMMANDS]
    assert shutil.which("runc", path=path) == shutil.which("runc")
    assert selected.environment[VERSION_VARIABLE] == selected.version == "2.2.0"


def runc_of_its_own(tree: Path) -> None:
    fake_command(tree / "runc", "true")


def nothing(command: str) -> Callable[[Path], None]:
    return lambda tree: (tree / command).unlink()


def script(command: str, text: str) -> Callable[[Path], None]:
    def write(tree: Path) -> None:
        fake_command(tree / command, text)

    return write


def of_another_machine(tree: Path) -> None:
    (tree / "ctr").write_bytes(b"\x7fELF of another machine")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(runc_of_its_own, "runc must be this machine's own", id="runc-of-its-own"),
        *(pytest.param(nothing(command), f"{command} is not in", id=f"no-{command}") for command in COMMANDS),
        pytest.param(script("ctr", "echo ctr url 2.1.9"), "mixes versions", id="two-versions"),
        pytest.param(script("ctr", "echo libc is too old >&2; exit 1"), "libc is too old", id="fails"),
        pytest.param(script("containerd", "echo"), "tells no version", id="silent"),
        pytest.param(of_another_machine, "does not run here", id="other-machine"),
    ],
)
def test_what_would_not_be_what_runs_is_refused_in_one_line(
    tree: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(tree)
    with pytest.raises(RuntimeError, match=said) as caught:
        selected_from(tree)
    assert "\n" not in str(caught.value)


def test_a_machine_without_runc_is_told_so(tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="runc"):
        selected_from(tree)


# How it sums up.


class Runs:
    """Plays Debian, and pytest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.versions: dict[str, str | RuntimeError] = {"trixie": "1.7.24~ds1", "sid": "2.1.9+unknown"}
        self.codes = {"1.7.24~ds1": 0, "2.1.9+unknown": 0, "2.2.0": 0}
        self.interrupted = False
        self.ran: list[tuple[str, list[str]]] = []
        self.again: list[str] = []
        monkeypatch.setattr(runner, "select", self.select)
        monkeypatch.setattr(runner, "run_pytest", self.run_pytest)

    def select(self, suite: str) -> Selected:
        """Give the containerd of a suite."""
        version = self.versions[suite]
        if isinstance(version, RuntimeError):
            raise version
        return Selected(version, Path("/x"), {VERSION_VARIABLE: version})

    def run_pytest(self, arguments: list[str], environment: dict[str, str]) -> tuple[int, bool]:
        """Remember."""
        cache, *arguments = arguments[1:]
        assert cache.startswith("cache_dir=")
        if arguments[: len(runner.LAST_FAILED)] == list(runner.LAST_FAILED):
            self.again.append(environment[VERSION_VARIABLE])
        else:
            self.ran.append((environment[VERSION_VARIABLE], arguments))
        return self.codes[environment[VERSION_VARIABLE]], self.interrupted


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


Captured = pytest.CaptureFixture[str]


def test_all_versions_are_run_and_summed_up_a_line_each(runs: Runs, capsys: Captured) -> None:
    assert runner.main(["-x", "tests/cli"]) == 0
    assert runs.ran == [("1.7.24~ds1", ["-x", "tests/cli"]), ("2.1.9+unknown", ["-x", "tests/cli"])]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("=====")] == [
        "===== containerd 1.7.24~ds1 of Debian trixie, in /x =====",
        "===== containerd 2.1.9+unknown of Debian sid, in /x =====",
    ]
    assert lines[-3:] == [
        "containerd 1.7.24~ds1 of Debian trixie: passed",
        "containerd 2.1.9+unknown of Debian sid: passed",
        "all passed",
    ]


@pytest.mark.parametrize("code", [1, 5, -signal.SIGKILL])
def test_after_one_that_failed_the_next_is_run_and_the_end_is_a_failure(
    runs: Runs, capsys: Captured, code: int
) -> None:
    runs.codes["1.7.24~ds1"] = code
    assert runner.main([]) == 1
    assert [version for version, _ in runs.ran] == ["1.7.24~ds1", "2.1.9+unknown"]
    assert runs.again == (["1.7.24~ds1"] if code == pytest.ExitCode.TESTS_FAILED else [])
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"containerd 1.7.24~ds1 of Debian trixie: failed: pytest ended with {code}",
        "containerd 2.1.9+unknown of Debian sid: passed",
        "not all passed",
    ]


def test_one_that_cannot_be_had_is_a_failure_and_not_skipped(runs: Runs, capsys: Captured) -> None:
    runs.versions["trixie"] = RuntimeError("apt-get update failed: E: no network")
    assert runner.main([]) == 1
    assert [version for version, _ in runs.ran] == ["2.1.9+unknown"]
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "containerd 1.7 of Debian trixie: failed, nothing was run: apt-get update failed: E: no network",
        "containerd 2.1.9+unknown of Debian sid: passed",
        "not all passed",
    ]


def test_a_series_that_was_never_tried_is_announced_and_run(runs: Runs, capsys: Captured) -> None:
    runs.versions["sid"] = "2.2.0"
    assert runner.main([]) == 0
    assert [version for version, _ in runs.ran] == ["1.7.24~ds1", "2.2.0"]
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "never tried" in line)
    assert line.startswith("Debian sid has moved on from 2.1 to 2.2")


def test_after_an_interruption_nothing_more_is_run(runs: Runs, capsys: Captured) -> None:
    runs.interrupted = True
    assert runner.main([]) == 130
    assert [version for version, _ in runs.ran] == ["1.7.24~ds1"]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "containerd 1.7.24~ds1 of Debian trixie: interrupted",
        "interrupted",
    ]


def test_one_suite_can_be_run_alone_and_others_are_refused(runs: Runs, capsys: Captured) -> None:
    assert runner.main(["--suite", "sid", "-x"]) == 0
    assert runs.ran == [("2.1.9+unknown", ["-x"])]
    for wrong in (["--suite", "bookworm"], ["--suite"]):
        assert runner.main(wrong) == 2
        assert "must be one of trixie, sid" in capsys.readouterr().err
    assert len(runs.ran) == 1


def test_what_is_expected_of_debian_is_what_was_tried() -> None:
    assert set(runner.SUITES.values()) <= set(TESTED)


# Ctrl-C.

SLOW_TO_CLEAN_UP = """
import os, pathlib, time
def test_forever():
    try:
        pathlib.Path("session").write_text(str(os.getsid(0)))
        pathlib.Path("started").touch()
        time.sleep(60)
    finally:
        time.sleep(0.5)
        pathlib.Path("cleaned").touch()
"""
DRIVER = "import os; from tests.compat.__main__ import run_pytest; print(run_pytest(['-q'], os.environ))"


@pytest.mark.parametrize(
    ("send", "number"),
    [
        pytest.param(os.killpg, signal.SIGINT, id="ctrl-c"),
        pytest.param(os.kill, signal.SIGINT, id="int"),
        pytest.param(os.kill, signal.SIGTERM, id="term"),
    ],
)
def test_a_signal_lets_pytest_clean_up(
    tmp_path: Path, send: Callable[[int, int], None], number: signal.Signals
) -> None:
    (tmp_path / "test_forever.py").write_text(SLOW_TO_CLEAN_UP)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-c", DRIVER]
    with subprocess.Popen(
        argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            wait_until((tmp_path / "started").exists, "the start of the test")
            send(process.pid, number)
            stdout, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert stdout.splitlines()[-1] == "(2, True)"
    # A terminal sends Ctrl-C to all in its foreground: pytest would get two, and the second ends the clean-up.
    assert int((tmp_path / "session").read_text()) != process.pid
    assert (tmp_path / "cleaned").exists()
