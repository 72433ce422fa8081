"""The command line for a user who may not read the root: never an empty world.

Real: the root with a plugin in it, and a child that becomes another user after its imports, which that user could not
read either.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Done, Px, finish
from tests.support.probe import environment

NOBODY = 65534
_CHILD = f"""
import encodings.ascii, importlib, os, pkgutil, runpy, sys
import difflib
import pluginexec
for module in pkgutil.walk_packages(pluginexec.__path__, "pluginexec."):
    if not module.name.startswith("pluginexec.testing") and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from pluginexec.cli import main
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
main()
"""

As = Callable[..., Done]


@pytest.fixture
def as_nobody(globals: list[str]) -> As:
    """Run a command as a user without rights."""

    def run(*arguments: str, **variables: str) -> Done:
        pipe = subprocess.PIPE
        argv = [sys.executable, "-c", _CHILD, *globals, *arguments]
        return finish(subprocess.Popen(argv, stdout=pipe, stderr=pipe, cwd="/", env=environment(**variables)))

    return run


COMMANDS = (
    *("ps -a", "ps -aq", "stats --no-stream", "events --since 1h --until 0s", "info", "doctor", "restore"),
    *("logs p", "inspect p", "exec p true", "stop p", "rm -f p", "attach p", "start p", "run --rootfs / true"),
    *("daemon status", "daemon stop", "serve", "plugin ls", "plugin rm p", "plugin create p /"),
)


def test_a_root_that_may_not_be_read_is_not_empty(as_nobody: As, px: Px, root_dir: Path) -> None:
    assert px("create", "--name", "p", "--rootfs", "/", "true").code == 0
    denied = Done(125, b"", f"pluginexec: permission denied: {root_dir} (run as root)\n".encode())
    assert {command: as_nobody(*command.split()) for command in COMMANDS} == dict.fromkeys(COMMANDS, denied)


def test_the_completion_of_ids_says_nothing(as_nobody: As, px: Px, globals: list[str]) -> None:
    assert px("create", "--name", "p", "--rootfs", "/", "true").code == 0
    words = ["pluginexec", *globals, "logs", ""]
    done = as_nobody(_PLUGINEXEC_COMPLETE="bash_complete", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))
    assert (done.code, done.out, done.err) == (0, b"\n", b"")
