"""What is built can be installed and run without the source tree, and its page can be shown.

Real: build, twine and pip, with an environment that holds nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = ("pluginexec", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE")
PAGES = ("README.rst", "cli/README.rst", "managed/README.rst", "testing/README.rst")
# Nothing but Python itself and what was installed into the directory that is its argument.
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pluginexec.cli import main; main()"


def run(*argv: object) -> str:
    done = subprocess.run([sys.executable, *map(str, argv)], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist and the wheel, built from a copy: the build writes beside the sources."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(REPOSITORY / name, tree / name)
    run("-m", "build", "--no-isolation", tree)
    return tree / "dist"


def test_the_page_of_the_package_can_be_shown(dist: Path) -> None:
    files = sorted(dist.iterdir())
    assert [file.name.partition("-")[0] for file in files] == ["pluginexec", "pluginexec"]
    run("-m", "twine", "check", "--strict", *files)


def test_the_wheel_runs_where_nothing_else_is_installed(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    run("-m", "pip", "install", "-qq", "--target", tmp_path, wheel)
    assert run("-I", "-S", "-c", RUN, tmp_path, "--version") == "pluginexec 0.1.0\n"
    script = str(tmp_path / "bin" / "pluginexec")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    printed = subprocess.check_output([script, "--version"], env=environment, text=True, timeout=60)
    assert printed == "pluginexec 0.1.0\n"
    installed = tmp_path / "pluginexec"
    assert (installed / "py.typed").is_file()
    assert [page for page in PAGES if not (installed / page).is_file()] == []
