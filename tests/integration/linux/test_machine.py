"""What this machine is said to be, as root. Real: the kernel, its cgroups and mounts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pluginexec.linux import machine


def test_this_machine_has_cgroups_and_we_have_capabilities() -> None:
    assert machine.cgroup_version() in (1, 2)
    assert {"memory", "pids"} <= machine.cgroup_controllers()
    assert machine.capabilities() >> 21 & 1
    assert machine.capabilities("no-such-process") == 0


def test_a_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    assert machine.file_system(Path("/proc/self/status")) == "proc"
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        assert machine.file_system(tmp_path / "x") == "tmpfs"
        assert machine.file_system(Path(f"{tmp_path}x")) != "tmpfs" or machine.file_system(tmp_path.parent) == "tmpfs"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
