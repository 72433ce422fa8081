"""Which processes a command starts for one plugin: no more than a program with an executor.

Real: containerd, the console script, an executor. ``ctr`` and ``setpriv`` are scripts that note their arguments and run
the real ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd, Executor
from pluginexec.containerd import ctr as ctr_module
from tests.integration.cli.conftest import Px
from tests.support.harness import PATIENCE
from tests.support.probe import environment

_NOTES = """#!/bin/sh
# It knows --pdeathsig.
echo "$@" >>{notes}
exec {program} "$@"
"""
_VERBS = ("events", "label", "version", "run", "create", "info", "rm", "ls", "kill")


class Notes:
    """The programs, and what was started of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        for name in ("ctr", "setpriv"):
            path = directory / name
            path.write_text(_NOTES.format(notes=directory / f"{name}.notes", program=shutil.which(name)))
            path.chmod(0o755)

    def take(self, name: str) -> list[str]:
        """Return the command lines since the last call."""
        path = self.directory / f"{name}.notes"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def verbs(self) -> list[str]:
        """Return what ctr was asked since the last call; how often the stream was marked depends on the machine."""
        verbs = [next(word for word in line.split() if word in _VERBS) for line in self.take("ctr")]
        return sorted({*verbs} & {"label"}) + [verb for verb in verbs if verb != "label"]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """The programs, first on a PATH."""
    return Notes(tmp_path / "programs")


def test_the_foreground_asks_ctr_no_more_often_than_an_executor(
    px: Px,
    notes: Notes,
    containerd: Containerd,
    rootfs: Path,
    shell: Any,
    new_id: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = f"{notes.directory}:{environment()['PATH']}"
    run = ("run", "--rm", "--rootfs", rootfs, "--name")
    for _ in range(2):  # the first one makes what is kept in the root
        notes.verbs()
        notes.take("setpriv")
        assert px(*run, new_id(), "true", env=environment(PATH=path)).code == 0
    command, tried = notes.verbs(), notes.take("setpriv")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", path)
        ctr_module._mortal.cache_clear()
        with Executor(tmp_path / "other", containerd.remote) as executor:
            executor.create(id := new_id(), shell(id, "true"))
            executor.wait(id, PATIENCE)
    ctr_module._mortal.cache_clear()
    assert sorted(command) == sorted(notes.verbs()) == ["events", "label", "rm", "run", "version"]
    # It is not tried whether setpriv works: all that it starts is ctr.
    assert tried
    assert [line for line in tried if "ctr --connect-timeout" not in line] == []
