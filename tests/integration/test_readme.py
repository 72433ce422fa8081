"""What the README pages show works exactly as they show it.

Real: the snippets, the console script in a shell of its own, containerd (the private one too), the plugins.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.embedded import own_address
from tests.support.managed_plugins.bundles import make_bundle
from tests.support.probe import SCRIPT, environment

REPOSITORY = Path(__file__).parents[2]
README, CLI, MANAGED = "README.rst", "pluginexec/cli/README.rst", "pluginexec/managed/README.rst"

Prepare = Callable[[Path, Path], None]
"""Puts into a directory what a section expects there; the second path is a root file system."""


def nothing(directory: Path, rootfs: Path) -> None:
    """Prepare a section that makes everything itself."""


def a_rootfs(directory: Path, rootfs: Path) -> None:
    """Prepare a section that runs plugins of a root file system."""
    (directory / "rootfs").symlink_to(rootfs)


def a_volume_plugin(directory: Path, rootfs: Path) -> None:
    """Prepare a section that runs a Docker managed plugin."""
    make_bundle(directory / "volume-plugin", "volume")


TOURS: dict[tuple[str, str], Prepare] = {
    (README, "A tour"): nothing,
    (CLI, "From the shell"): nothing,
    (CLI, "A supervisor for a host"): a_rootfs,
    (CLI, "For scripts"): a_rootfs,
    (MANAGED, "From the shell"): a_volume_plugin,
}
EXAMPLES: dict[tuple[str, str], tuple[Prepare, str]] = {
    (README, "From Python"): (a_rootfs, "example exited with 3\n"),
    (MANAGED, "From Python"): (a_volume_plugin, "VolumeDriver\ndata\n"),
}


@pytest.mark.parametrize(("page", "title"), TOURS)
def test_a_tour_runs_line_by_line(page: str, title: str, short_root: Path, tmp_path: Path, rootfs: Path) -> None:
    TOURS[page, title](tmp_path, rootfs)
    take_tour(section(page, title), short_root, tmp_path)


@pytest.mark.parametrize(("page", "title"), EXAMPLES)
def test_a_python_example_runs(page: str, title: str, tmp_path: Path, rootfs: Path) -> None:
    prepare, expected = EXAMPLES[page, title]
    prepare(tmp_path, rootfs)
    assert run_example(section(page, title), tmp_path) == (0, expected, "")
    if page == README:
        assert [(tmp_path / name).read_text() for name in ("out.log", "err.log")] == ["hello\n", ""]


def test_no_tour_and_no_example_is_left_out() -> None:
    # What the page of the pytest plugin shows is run by the tests of that plugin.
    pages = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("pluginexec/*/README.rst")}
    sections = [(page, title) for page in (README, *sorted(pages)) for title in titles(page)]
    assert [place for place in sections if tour(section(*place))] == list(TOURS)
    examples = [place for place in sections if python_blocks(section(*place))]
    assert examples == list(EXAMPLES)


def titles(page: str) -> list[str]:
    """Return the titles of the sections of a page."""
    return re.findall(r"\n(.+)\n=+\n\n", (REPOSITORY / page).read_text())[1:]


def section(page: str, title: str) -> str:
    """Return the text of a section of a page."""
    _, heading, rest = (REPOSITORY / page).read_text().partition(f"\n{title}\n{'=' * len(title)}\n")
    assert heading, title
    return re.split(r"\n.+\n====", rest)[0]


def python_blocks(text: str) -> list[str]:
    """Return the Python examples in the text of a section."""
    return [textwrap.dedent(block) for block in re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", text)]


def run_example(text: str, directory: Path) -> tuple[int, str, str]:
    """Run the one Python example of a section in a directory; return its exit code, its stdout and its stderr."""
    (example,) = python_blocks(text)
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-c", example]
    result = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=60, env=env, check=False)
    return result.returncode, result.stdout, result.stderr


def take_tour(text: str, root: Path, directory: Path) -> None:
    """Run the commands of a section in one shell, and compare what each prints."""
    steps = tour(text)
    assert steps
    script = "".join(f"{command}\ncode=$?; echo; echo {MARK}; (exit $code)\n" for command, _ in steps)
    scripts = f"{SCRIPT.parent}:{os.environ['PATH']}"
    # The one that a machine without another would start, by its name: this machine may have another.
    address = own_address(root)
    env = environment(PATH=scripts, PLUGINEXEC_ROOT=str(root), CONTAINERD_ADDRESS=address, TMPDIR=str(directory))
    argv = ["bash", "-c", script]
    result = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=110, env=env, check=False)
    for (command, expected), printed in zip(steps, result.stdout.split(f"\n{MARK}\n"), strict=False):
        assert re.fullmatch(pattern(expected), printed.strip()), f"{command}\n{printed}\n{result.stderr}"
    assert result.stdout.count(MARK) == len(steps)
    # serve logs to stderr.
    assert not [line for line in result.stderr.splitlines() if "Traceback" in line or "error" in line], result.stderr


MARK = "-- end of a step --"


def tour(text: str) -> list[tuple[str, list[str]]]:
    """Return each command of a tour, with the lines that it should print."""
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
    (command,) = re.findall(r"^    (python3 -m tests)$", (REPOSITORY / README).read_text(), re.MULTILINE)
    lines = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line == command or line.startswith(f"{command} ||")]
