"""What the machine is said to be.

Real here: this kernel, its locks, mounts and programs. Not real: cgroup hierarchies, which are directories.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from pathlib import Path

import pytest

from pluginexec.linux import machine
from tests.support.harness import wait_until


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc-v595", (6, 18)), ("5.3-rc1", (5, 3)), ("4.19.0", (4, 19)), ("", (0, 0)), ("x6.1", (0, 0))],
)
def test_a_kernel_is_known_by_its_first_two_numbers(release: str, version: tuple[int, int]) -> None:
    assert machine.kernel_version(release) == version


def test_cgroups_of_version_2_are_known_by_their_controllers(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    assert machine.cgroup_version(tmp_path) == 2
    assert machine.cgroup_controllers(tmp_path) == {"cpu", "memory", "pids", "freezer"}


def test_cgroups_of_version_1_are_hierarchies_of_one_or_several_controllers(tmp_path: Path) -> None:
    for name in ("cpu,cpuacct", "memory", "systemd", "unified"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "pids").mkdir()  # a directory alone is none
    assert machine.cgroup_version(tmp_path) == 1
    assert machine.cgroup_controllers(tmp_path) == {"cpu", "cpuacct", "memory"}
    assert machine.cgroup_version(tmp_path / "pids") == machine.cgroup_version(tmp_path / "gone") == 0


def test_who_holds_a_lock_is_known_and_who_waits_for_it_is_not_taken_for_that(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert machine.lock_holders(path) == []
    with path.open("w") as file:
        assert machine.lock_holders(path) == []
        fcntl.flock(file, fcntl.LOCK_SH)
        assert [(each.pid, each.exclusive) for each in machine.lock_holders(path)] == [(os.getpid(), False)]
        fcntl.flock(file, fcntl.LOCK_EX)
        waiter = subprocess.Popen(["flock", path, "true"])
        wait_until(lambda: f"{waiter.pid}" in Path("/proc/locks").read_text(), "the wait for the lock")
        assert [(each.pid, each.exclusive) for each in machine.lock_holders(path)] == [(os.getpid(), True)]
    waiter.wait()


def test_the_nearest_directory_that_is_there_is_found(tmp_path: Path) -> None:
    assert machine.existing_parent(tmp_path / "a/b") == machine.existing_parent(tmp_path) == tmp_path


def test_a_datagram_socket_listens_while_it_is_bound(tmp_path: Path) -> None:
    assert not machine.listens(tmp_path / "serve.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "serve.sock"))
        assert machine.listens(tmp_path / "serve.sock")
    assert not machine.listens(tmp_path / "serve.sock")  # the file is still there
    assert not machine.listens(tmp_path / ("x" * 200))
