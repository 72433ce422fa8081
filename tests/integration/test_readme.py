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
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.managed_plugins.bundles import make_bundle
from tests.support.probe import SCRIPT, environment

README = Path(__file__).parents[2] / "README.rst"


@pytest.fixture
def examples_are_removed() -> Iterator[None]:
    """The directories that the Python examples name."""
    yield
    for name in ("example", "authors"):
        shutil.rmtree(f"/tmp/pluginexec-{name}", ignore_errors=True)


@pytest.mark.usefixtures("examples_are_removed")
def test_the_python_example_runs(tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "rootfs").symlink_to(rootfs)
    assert run_example("For scripts", tmp_path) == (0, "example ended with 3\n", "")
    assert (tmp_path / "out.log").read_text() == "hello\n"
    assert (tmp_path / "err.log").read_text() == ""


@pytest.mark.usefixtures("examples_are_removed")
def test_the_example_for_plugin_authors_runs(tmp_path: Path) -> None:
    make_bundle(tmp_path / "volume-plugin", "volume")
    assert run_example("For plugin authors", tmp_path) == (0, "VolumeDriver\ndata\n", "")


def test_the_tour_runs_line_by_line(short_root: Path, tmp_path: Path) -> None:
    take_tour("From the shell", short_root, tmp_path)


def test_the_script_runs_line_by_line(short_root: Path, tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "rootfs").symlink_to(rootfs)
    take_tour("For scripts", short_root, tmp_path)


def test_the_tour_for_plugin_authors_runs_line_by_line(short_root: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "volume-plugin", "volume")
    take_tour("For plugin authors", short_root, tmp_path)


def section(title: str) -> str:
    """Return the text of a section of README.rst, its subsections too."""
    _, found, rest = README.read_text().partition(f"\n{title}\n{'=' * len(title)}\n")
    assert found, title
    return re.split(r"\n.+\n====", rest)[0]


def blocks(title: str, language: str) -> list[str]:
    """Return the blocks of code of a section."""
    found = re.findall(rf"code-block:: {language}\n\n((?:    .*\n|\n)+)", section(title))
    return [textwrap.dedent(block) for block in found]


def run_example(title: str, directory: Path) -> tuple[int, str, str]:
    """Run the one Python example of a section in a directory: its exit code, what it printed, and to stderr."""
    (example,) = blocks(title, "python")
    env = os.environ | {"PYTHONPATH": str(README.parent)}
    argv = [sys.executable, "-c", example]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=60, env=env, check=False)
    return done.returncode, done.stdout, done.stderr


def take_tour(title: str, root: Path, directory: Path) -> None:
    """Run the commands of a section in one shell, and compare what each prints."""
    steps = tour(section(title))
    assert steps
    script = "".join(f"{command}\ncode=$?; echo; echo {MARK}; (exit $code)\n" for command, _ in steps)
    scripts = f"{SCRIPT.parent}:{os.environ['PATH']}"
    env = environment(PATH=scripts, PLUGINEXEC_ROOT=str(root), CONTAINERD_ADDRESS=f"{root}/none")
    argv = ["bash", "-c", script]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=110, env=env, check=False)
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
