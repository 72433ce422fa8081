"""Rows: importing the package, and the shortest command.

The CPU time is taken: what an import waits for is the machine's other work, and on an idle one the two are the same.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.bench.arena import Arena
from tests.bench.effort import Effort
from tests.bench.foreground import NAMESPACE
from tests.bench.rows import Measured, Row, at_most
from tests.bench.spread import alternate, ratios, spread

_LIMIT = 60.0


def start_up(arena: Arena, effort: Effort) -> Measured:
    """What an import costs beyond a bare interpreter, beside docker's; and ``--version``, beside click and others'."""
    argvs = {
        "bare": [sys.executable, "-c", "pass"],
        "import pluginexec": [sys.executable, "-c", "from pluginexec import Containerd, Executor, default_spec"],
        "import docker": [sys.executable, "-c", "import docker"],
        "import click": [sys.executable, "-c", "import click"],
        "pluginexec --version": [str(Path(sys.executable).with_name("pluginexec")), "--version"],
        "ctr version": ["ctr", "--address", arena.containerd.address, "--namespace", NAMESPACE, "version"],
    }
    if docker := shutil.which("docker"):
        argvs["docker --version"] = [docker, "--version"]
    # Compiled code of all alike is kept, wherever it lies and whatever the environment says; and what is installed is
    # taken, not what lies in the directory that we were started in.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(arena.directory / "compiled")

    def run(argv: list[str]) -> float:
        begun = _cpu_of_children()
        done = subprocess.run(argv, capture_output=True, cwd=arena.directory, env=environment, timeout=_LIMIT)
        taken = _cpu_of_children() - begun
        assert done.returncode == 0, done.stderr
        assert bool(done.stdout) == ("version" in argv[-1])
        return 1e3 * taken

    taken = alternate(effort.rounds, *(partial(run, argv) for argv in argvs.values()))
    times = dict(zip(argvs, taken, strict=True))
    return Measured((_imports(times), _version(times)))


def _imports(times: dict[str, list[float]]) -> Row:
    own, other = (_beyond(times["bare"], times[f"import {name}"]) for name in ("pluginexec", "docker"))
    return Row(
        "import of all of it, CPU beyond a bare interpreter",
        "import docker",
        "ms",
        spread(own),
        spread(other),
        spread(ratios(own, other)),
        (at_most("ours", spread(own).median, 60, "ms"),),
        {"bare interpreter": (spread(times["bare"]), "ms")},
    )


def _version(times: dict[str, list[float]]) -> Row:
    own, click = times["pluginexec --version"], times["import click"]
    ratio = spread(ratios(own, click))
    others = {
        name: (spread(taken), "ms") for name, taken in times.items() if name in ("docker --version", "ctr version")
    }
    goals = (at_most("ratio", ratio.median, 1.5),)
    return Row(
        "pluginexec --version", "python -c 'import click'", "ms", spread(own), spread(click), ratio, goals, others
    )


def _beyond(bare: list[float], whole: list[float]) -> list[float]:
    return [one - other for one, other in zip(whole, bare, strict=True)]


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
