"""Run the tests, or something else of tox.ini, on a machine with Python and pip alone: ``python3 -m tests [ENV]``.

``python3 -m tests`` runs all tests, ``python3 -m tests demo`` a plugin; what follows ``--`` goes to pytest. tox goes
into a directory of its own, which a system's Python allows even where it refuses a plain ``pip install`` (PEP 668).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[1]
TOX = Path(".tox", "boot")
"""From the repository's root."""


def install_tox(directory: Path) -> str:
    """Install tox into a directory, unless it is there; return why that failed, or nothing."""
    complete = directory / "complete"
    if complete.exists():
        return ""
    shutil.rmtree(directory, ignore_errors=True)  # what an interrupted installation left
    command = [sys.executable, "-m", "pip", "install", "-qq", "--target", str(directory), "tox"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode == 0:
        complete.touch()
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"pip failed with {done.returncode}"


def tox_arguments(arguments: list[str]) -> list[str]:
    """Return tox's arguments: the first of ours names an environment, and by default it is ``py``."""
    named = arguments[:1] and not arguments[0].startswith("-")
    return ["-e", *arguments] if named else ["-e", "py", *arguments]


def main(arguments: list[str]) -> int:
    """Install tox where it is missing, run it, and return its exit code."""
    os.chdir(TOP)
    problem = install_tox(TOX)
    if problem:
        print(f"cannot install tox: {problem}; it needs pip (Debian: apt-get install python3-pip)", file=sys.stderr)
        return 1
    environment = {**os.environ, "PYTHONPATH": str(TOX.absolute())}
    sys.stdout.flush()
    return os.execve(sys.executable, [sys.executable, "-m", "tox", *tox_arguments(arguments)], environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
