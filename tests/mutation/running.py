"""Run pytest in copies of the tree, each in a session and a directory of its own, and see what is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.mutation import witness
from tests.mutation.guard import Guard

CGROUPS = Path("/sys/fs/cgroup")
TREE = Path(__file__).parents[2]
PARTS = ("pluginexec", "tests", "pyproject.toml", "setup.cfg")
PATIENCE = 6.0
"""Seconds that a condition may take in these runs, with the guards and without: most end by running into it."""
RUN_TIMEOUT = 300.0
INTERRUPT_TIMEOUT = 90.0
"""Seconds that an interrupted run may take to clean up after itself."""
DYING_TIMEOUT = 5.0
"""Seconds that what was killed as the run ended may take to be gone."""


@dataclass(frozen=True)
class Result:
    """What one run did."""

    returncode: int
    output: str
    imported: str
    """The file of the package that was tested, from the copy's top."""
    passed: tuple[str, ...]
    failed: dict[str, str]
    """What each test said that failed; clean-up that failed does not count."""
    left: tuple[str, ...]
    """What outlived the run, and was ended."""


class Run:
    """One run of pytest on a few tests, in a copy of the tree without one guard, or with all of them."""

    def __init__(self, tests: Sequence[str], without: Guard | None = None) -> None:
        self._tests = tests
        self._without = without
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._interrupted = False

    def execute(self) -> Result:
        """Run it to its end, clean up, and return what it did."""
        directory = Path(tempfile.mkdtemp(prefix="px-control-"))
        try:
            tree = _copy(directory / "tree")
            if self._without:
                self._without.take_out(tree)
            with (directory / "output").open("wb") as file:
                process = self._start(directory, file.fileno())
                self._wait(process)
            facts = _facts(tree / witness.FILE)
            containerds = [fact["containerd"] for fact in facts if "containerd" in fact]
            left = end_leftovers(Traces(directory, process.pid, containerds))
            output = (directory / "output").read_text(errors="replace")
            return _result(tree, process.returncode, output, facts, left)
        finally:
            shutil.rmtree(directory)

    def interrupt(self) -> None:
        """Have it end as Ctrl-C does: pytest cleans up. One that has not begun never begins."""
        with self._lock:
            self._interrupted = True
            if self._process and self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)

    def _start(self, directory: Path, output: int) -> subprocess.Popen[bytes]:
        temporary = directory / "tmp"
        temporary.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment |= {"PLUGINEXEC_PATIENCE": str(PATIENCE), "TMPDIR": str(temporary)}
        # For the processes that tests start, too: where the package is installed they would import that one.
        environment["PYTHONPATH"] = str(directory / "tree")
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.mutation.witness"]
        with self._lock:
            assert not self._interrupted, "interrupted before it began"
            # A session of its own: of a Ctrl-C in the terminal it learns through us, and once.
            self._process = subprocess.Popen(
                [*argv, f"--basetemp={temporary / 'pytest'}", "--timeout=60", *self._tests],
                cwd=directory / "tree",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self._process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(INTERRUPT_TIMEOUT)
        finally:
            process.kill()
            process.wait()


def _copy(tree: Path) -> Path:
    tree.mkdir()
    for part in PARTS:
        if (TREE / part).is_dir():
            shutil.copytree(TREE / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(TREE / part, tree / part)
    return tree


def _facts(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _result(tree: Path, returncode: int, output: str, facts: list[dict[str, str]], left: list[str]) -> Result:
    imported = next((fact["imported"] for fact in facts if "imported" in fact), "")
    calls = [fact for fact in facts if fact.get("when") == "call"]
    return Result(
        returncode=returncode,
        output=output,
        imported=imported.removeprefix(f"{tree}/"),
        passed=tuple(call["test"] for call in calls if call["outcome"] == "passed"),
        failed={call["test"]: call["says"] for call in calls if call["outcome"] == "failed"},
        left=tuple(left),
    )


class Traces:
    """By what the processes, mounts and cgroups of one run are known, though their parents may be gone."""

    def __init__(self, directory: Path, pid: int, containerds: list[str]) -> None:
        self._directories = (str(directory), *containerds)
        self._cgroup = f"pluginexec/t{pid}-"

    def processes(self) -> Iterator[psutil.Process]:
        """Find the live ones: all but containers and their loggers have inherited TMPDIR from pytest."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and self._is_ours(process):
                    yield process

    def _is_ours(self, process: psutil.Process) -> bool:
        if self._cgroup in Path(f"/proc/{process.pid}/cgroup").read_text():
            return True
        # A logger's cat has no more than its working directory, which is the bundle, to be known by.
        texts = [process.cwd(), *process.cmdline(), *process.environ().values()]
        return any(directory in text for text in texts for directory in self._directories)

    def mounts(self) -> list[str]:
        """Find the mount points."""
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [point for point in points if point.startswith(self._directories)]

    def cgroups(self) -> list[Path]:
        """Find the cgroups, of both versions."""
        return [path for pattern in (f"{self._cgroup}*", f"*/{self._cgroup}*") for path in CGROUPS.glob(pattern)]

    def containerds(self) -> list[str]:
        """Find the directories of containerds that were to be removed."""
        return [directory for directory in self._directories[1:] if os.path.exists(directory)]


def end_leftovers(traces: Traces, patience: float = DYING_TIMEOUT) -> list[str]:
    """End what outlived a run, each by its pid or path, and return what that was."""
    deadline = time.monotonic() + patience
    while (processes := list(traces.processes())) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.append(f"process {process.pid}: {' '.join(process.cmdline())}")
            process.kill()  # psutil compares the creation time first
    psutil.wait_procs(processes, DYING_TIMEOUT)
    for point in traces.mounts():
        left.append(f"mount {point}")
        subprocess.run(["umount", "--lazy", "--", point], check=False)
    for cgroup in traces.cgroups():
        left.append(f"cgroup {cgroup}")
        with contextlib.suppress(OSError):
            cgroup.rmdir()
    for containerd in traces.containerds():
        left.append(f"directory {containerd}")
        shutil.rmtree(containerd, ignore_errors=True)
    return left
