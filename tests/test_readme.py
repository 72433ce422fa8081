"""What README.rst shows works as it stands there. Real: the snippets, containerd, the plugin."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.rst"


@pytest.fixture
def example_is_removed() -> object:
    """The directory that the Python example names."""
    yield
    shutil.rmtree("/tmp/pluginexec-example", ignore_errors=True)


@pytest.mark.usefixtures("example_is_removed")
def test_the_python_example_runs(tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "rootfs").symlink_to(rootfs)
    (example,) = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", README.read_text())
    argv = [sys.executable, "-c", textwrap.dedent(example)]
    environment = os.environ | {"PYTHONPATH": str(README.parent)}
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "example ended with 3\n", "")
    assert (tmp_path / "out.log").read_text() == "hello\n"
    assert (tmp_path / "err.log").read_text() == ""


def test_ci_runs_the_command_that_readme_gives_for_the_tests() -> None:
    (command,) = re.findall(r"^    (rm .* -e py)$", README.read_text(), re.MULTILINE)
    assert command in (README.parent / ".ci" / "run").read_text()
