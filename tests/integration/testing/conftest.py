"""Fixtures: pytest in a process of its own, on tests that are written there, and what is left of such a run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pluginexec.testing.run_directory_names import RUN_DIRECTORIES
from tests.support.harness import PATIENCE, wait_until
from tests.support.probe import environment

NOTES = '''
import json, os, threading, time
from pathlib import Path
import pytest

HERE = Path(__file__).parent

@pytest.fixture(autouse=True)
def note(request):
    """Write down where each test runs its plugins."""
    if {"executor", "plugin", "docker_plugin"} & set(request.fixturenames):
        containerd, executor = map(request.getfixturevalue, ("containerd", "executor"))
        with (HERE / "notes").open("a") as file:
            print(json.dumps([containerd.address, str(executor.root_dir), os.getpid()]), file=file)

@pytest.fixture
def rest():
    """Write down that the test has come here, and wait to be ended."""
    def rest():
        with (HERE / "resting").open("a") as file:
            file.write(".")
        time.sleep(1000)
    return rest
'''
# Other plugins' time is saved: on Ctrl-C, that of hypothesis imports for seconds.
_WITHOUT = "-p no:hypothesispytest -p no:timeout"
STRICT = f"[pytest]\naddopts = -ra --strict-config --strict-markers {_WITHOUT}\nfilterwarnings = error\n"


class Inner:
    """Test files in a directory, and the runs of pytest on them."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path
        self._started: list[subprocess.Popen[bytes]] = []
        pytester.makeconftest(NOTES)
        pytester.makeini(STRICT)

    def write(self, source: str) -> None:
        """Write the tests."""
        self._pytester.makepyfile(textwrap.dedent(source))

    def run(self, source: str, *arguments: str) -> pytest.RunResult:
        """Run pytest on these tests, to its end."""
        self.write(source)
        return self._pytester.runpytest_subprocess(*arguments, timeout=3 * PATIENCE)

    def run_here(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in the working directory."""
        argv = [sys.executable, "-m", "pytest", *arguments]
        return self._pytester.run(*argv, timeout=3 * PATIENCE)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start pytest on the tests that are written, as the leader of a process group."""
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        with (self.path / "output").open("wb") as output:
            process = subprocess.Popen(
                argv, cwd=self.path, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._started.append(process)
        return process

    def wait_until_resting(self, process: subprocess.Popen[bytes], count: int = 1) -> None:
        """Wait until so many tests rest."""
        resting = self.path / "resting"

        def rests() -> bool:
            assert process.poll() is None, self.output
            return resting.exists() and resting.stat().st_size >= count

        wait_until(rests, f"the rest of {count} tests")

    @property
    def output(self) -> str:
        """What the started pytest has printed."""
        return (self.path / "output").read_text()

    @property
    def notes(self) -> list[tuple[str, Path, int]]:
        """The address, the executor's root and the pid of each test that has run."""
        lines = (self.path / "notes").read_text().splitlines()
        return [(address, Path(root), pid) for address, root, pid in map(json.loads, lines)]

    def directories(self) -> set[str]:
        """The run directories of the tests' executors and of their containerds, if those are private."""
        parents = {str(path.parent) for address, root, _ in self.notes for path in (root, Path(address).parent)}
        return {parent for parent in parents if parent.startswith(RUN_DIRECTORIES)}

    def left(self) -> list[str]:
        """What is left of the runs: processes, directories, mounts, cgroups."""
        directories = self.directories()
        mounts = Path("/proc/self/mountinfo").read_text()
        cgroups = [str(path) for depth in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{depth}pluginexec/*")]
        names = {Path(directory).name for directory in directories}
        return [
            *(" ".join(line) for line in command_lines() if any(path in word for path in directories for word in line)),
            *(path for path in directories if Path(path).exists() or path in mounts),
            *(cgroup for cgroup in cgroups if any(name in cgroup for name in names)),
        ]

    def check_nothing_left(self) -> None:
        """Check that the runs have left nothing behind."""
        assert self.directories()
        wait_until(lambda: not self.left(), "the end of all that was run")

    def end(self) -> None:
        """End what is still running of what was started; killed, where that does not suffice."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if (self.path / "notes").exists() and self.left():
            self.run("def test_that_cleans_up(executor): pass")  # what the runs before it have left behind


def command_lines() -> Iterator[list[str]]:
    """Yield the command line of each process."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            yield process.cmdline()


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inner]:
    """Tests of a test's own."""
    for name in list(os.environ):
        if name.startswith("PYTEST_") and name != "PYTEST_DEBUG_TEMPROOT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    inner = Inner(pytester)
    yield inner
    inner.end()
