"""What README.rst shows works as it stands there.

Real: the snippets, the console script in a shell of its own, containerd (the private one too), the plugins.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.tools.probe import SCRIPT, environment

README = Path(__file__).parent.parent / "README.rst"


@pytest.fixture
def example_is_removed() -> object:
    """The directory that the Python example names."""
    yield
    shutil.rmtree("/tmp/pluginexec-example", ignore_errors=True)


@pytest.mark.usefixtures("example_is_removed")
def test_the_python_example_runs(tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "rootfs").symlink_to(rootfs)
    section = README.read_text().partition("\nFrom Python\n")[2].partition("\n\n\n")[0]
    (example,) = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", section)
    argv = [sys.executable, "-c", textwrap.dedent(example)]
    environment = os.environ | {"PYTHONPATH": str(README.parent)}
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "example ended with 3\n", "")
    assert (tmp_path / "out.log").read_text() == "hello\n"
    assert (tmp_path / "err.log").read_text() == ""


def test_the_tour_runs_line_by_line(short_root: Path, tmp_path: Path) -> None:
    steps = tour(README.read_text())
    assert len(steps) > 20
    script = "".join(f"{command}\ncode=$?; echo; echo {MARK}; (exit $code)\n" for command, _ in steps)
    scripts = f"{SCRIPT.parent}:{os.environ['PATH']}"
    env = environment(PATH=scripts, PLUGINEXEC_ROOT=str(short_root), CONTAINERD_ADDRESS=f"{short_root}/none")
    argv = ["bash", "-c", script]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=110, env=env, check=False)
    for (command, expected), printed in zip(steps, done.stdout.split(f"\n{MARK}\n"), strict=False):
        assert re.fullmatch(pattern(expected), printed.strip()), f"{command}\n{printed}\n{done.stderr}"
    assert done.stdout.count(MARK) == len(steps)
    # What serve says is meant for a log.
    assert not [line for line in done.stderr.splitlines() if "Traceback" in line or "error" in line], done.stderr


MARK = "-- end of a step --"


def tour(text: str) -> list[tuple[str, list[str]]]:
    """Return each command of the tour, with the lines that it is said to print."""
    steps: list[tuple[str, list[str]]] = []
    inside = False
    for line in text.splitlines():
        inside = line.startswith("    $ ") or (inside and line.startswith("    "))
        if line.startswith("    $ "):
            steps.append((line[6:], []))
        elif inside and line.startswith("    > "):
            steps[-1] = (f"{steps[-1][0]}\n{line[6:]}", [])
        elif inside:
            steps[-1][1].append(line[4:])
    return steps


def pattern(lines: list[str]) -> str:
    """Return what must match all of the output: three dots stand for anything, blanks for any number of them."""
    return "\n".join(re.sub(r"(\\ )+", r"\\s+", re.escape(line).replace(r"\.\.\.", ".*")) for line in lines)


def test_ci_runs_the_command_that_readme_gives_for_the_tests() -> None:
    (command,) = re.findall(r"^    (rm .* -e py)$", README.read_text(), re.MULTILINE)
    assert command in (README.parent / ".ci" / "run").read_text()
