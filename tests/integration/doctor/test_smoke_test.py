"""The doctor's tiny plugin: it runs, what goes wrong is told, and nothing is left of it in any case.

Real here: containerd, the plugin, a file system on which nothing can be executed.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pluginexec import Containerd, PluginExecError, Unavailable
from pluginexec.doctor import smoke_test
from pluginexec.doctor.elf import tiny_program
from pluginexec.doctor.smoke_test import run_tiny_plugin
from tests.support.embedded import NOBODY, own_address, short_root
from tests.support.layouts import one_directory


@pytest.fixture
def root(no_leaks: None) -> Iterator[Path]:
    with short_root() as root:
        yield root


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the trial has its root file system; its id is known, for others may run a doctor now, too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(smoke_test, "secrets", SimpleNamespace(token_hex=lambda count: f"t{os.getpid()}"))
    return tmp_path


def left(containerd: Containerd | None = None) -> list[str]:
    """All that a trial could leave outside its directories."""
    id = f"doctor-t{os.getpid()}"
    # Not the whole tree: what other runs have there goes while it is walked.
    patterns = (f"pluginexec/{id}", f"*/pluginexec/{id}")
    found = [str(path) for pattern in patterns for path in Path("/sys/fs/cgroup").glob(pattern)]
    if containerd:
        found += [name for name in containerd.remote.new_client("default").namespaces() if name == id]
    return found + [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if id in line]


def test_it_runs_on_a_containerd_that_listens_and_leaves_nothing(
    containerd: Containerd, root: Path, target: Path
) -> None:
    assert run_tiny_plugin(containerd.address, one_directory(root)) > 0
    assert not list(root.iterdir())
    assert not list(target.iterdir())
    assert not left(containerd)


def test_where_none_listens_it_runs_on_one_for_itself_and_the_root_is_as_it_was(root: Path, target: Path) -> None:
    assert run_tiny_plugin(own_address(root / "not/there"), one_directory(root / "not/there")) > 0
    assert not list(root.iterdir())
    assert not list(target.iterdir())
    assert not left()


def test_one_that_was_given_and_does_not_listen_is_not_replaced(root: Path) -> None:
    with pytest.raises(Unavailable, match="no containerd listens at"):
        run_tiny_plugin(NOBODY, one_directory(root))


def test_it_needs_no_file_system_of_the_root_on_which_programs_can_be_executed(
    containerd: Containerd, root: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=700", "none", root], check=True)
    try:
        assert not smoke_test._can_execute(root)
        assert run_tiny_plugin(containerd.address, one_directory(root)) > 0
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_plugin_that_does_not_start_is_reported_and_nothing_is_left(
    containerd: Containerd, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    monkeypatch.setattr(smoke_test, "tiny_program", lambda machine: tiny_program(other))
    with pytest.raises(PluginExecError, match="exec format error"):
        run_tiny_plugin(containerd.address, one_directory(root))
    assert not list(root.iterdir())
    assert not list(target.iterdir())
    assert not left(containerd)


def test_one_that_prints_something_else_or_does_not_end_is_reported_and_nothing_is_left(
    containerd: Containerd, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(smoke_test, "GREETING", b"hello\n")
        with pytest.raises(PluginExecError, match=r"printed b'plugin.n', not 0 and b'hello.n'"):
            run_tiny_plugin(containerd.address, one_directory(root))
    program = tiny_program("x86_64")
    assert program
    endless = program[:120] + b"\xeb\xfe"  # jmp to itself
    monkeypatch.setattr(smoke_test, "tiny_program", lambda machine: endless.ljust(len(program), b"\0"))
    monkeypatch.setattr(smoke_test, "_TIMEOUT", 0.2)
    if os.uname().machine == "x86_64":
        with pytest.raises(PluginExecError, match=r"within 0\.2 s"):
            run_tiny_plugin(containerd.address, one_directory(root))
    assert not list(root.iterdir())
    assert not list(target.iterdir())
    assert not left(containerd)
