"""What each flag does inside a container. Real: all of it, containerd, runc, the kernel's limits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor
from pluginexec.oci.options.container import ContainerFlags
from pluginexec.types import ExitStatus
from tests.support.harness import PATIENCE, Buffer, wait_until

Inside = Callable[..., tuple[list[str], ExitStatus]]


@pytest.fixture
def inside(executor: Executor, shell: Callable[..., dict[str, Any]], new_id: Callable[[], str]) -> Inside:
    """Run a script under flags; return the lines that it printed, and how it ended."""

    def run(script: str, **flags: Any) -> tuple[list[str], ExitStatus]:
        id, stdout, stderr = new_id(), Buffer(), Buffer()
        executor.create(id, ContainerFlags(**flags).apply(shell(id, script)), stdout, stderr)
        status = executor.wait(id, PATIENCE)
        return (stdout.data + stderr.data).decode().splitlines(), status

    return run


def test_variables_directory_and_name_are_what_was_asked_for(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\n")
    script = 'echo "$A $B $PATH"; pwd; hostname'
    flags = {"env": ("A=flag", "PATH=/bin"), "env_file": (str(tmp_path / "env"),), "workdir": "/made/for/it"}
    assert inside(script, **flags, hostname="web-1")[0] == ["flag file /bin", "/made/for/it", "web-1"]


def test_a_volume_can_be_written_to_unless_it_is_read_only(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir()
    (tmp_path / "ro/file").write_text("from the host\n")
    volumes = (f"{tmp_path}/new:/data/rw", f"{tmp_path}/ro:/data/ro:ro")
    lines, _ = inside("echo hello >/data/rw/file; cat /data/ro/file; touch /data/ro/x; echo $?", volume=volumes)
    assert lines[0] == "from the host"
    assert lines[1] == "1"
    assert "Read-only file system" in lines[2]
    assert (tmp_path / "new/file").read_text() == "hello\n"


def test_a_bind_mount_and_a_tmpfs_are_as_their_options_say(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one file\n")
    mounts = (
        f"type=bind,source={tmp_path}/file,target=/etc/some.conf,readonly",
        "type=tmpfs,target=/scratch,tmpfs-size=1m,tmpfs-mode=1770",
    )
    script = "cat /etc/some.conf; echo x >/etc/some.conf; stat -c %a /scratch; grep ' /scratch ' /proc/mounts"
    lines, _ = inside(script, mount=mounts)
    assert lines[:2] == ["one file", "1770"]
    assert "size=1024k" in lines[2]
    assert "noexec" in lines[2]
    assert "Read-only file system" in lines[3]


@pytest.fixture
def shared_mount(tmp_path: Path) -> Iterator[Path]:
    """A mount that passes on what is mounted in it, in its directory ``late``."""
    base = tmp_path / "base"
    base.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", base], check=True)
    try:
        subprocess.run(["mount", "--make-shared", base], check=True)
        (base / "late").mkdir()
        yield base
    finally:
        subprocess.run(["umount", "-R", "-l", base], check=True)


@pytest.mark.parametrize(("propagation", "seen"), [("rslave", b"file\n"), ("rprivate", b"")])
def test_mounts_of_the_host_reach_a_container_that_asks_for_them(
    executor: Executor, shell: Any, id: str, shared_mount: Path, propagation: str, seen: bytes
) -> None:
    stdout = Buffer()
    script = "trap 'ls /base/late; exit' TERM; echo ready; while :; do sleep 0.05; done"
    executor.create(
        id, ContainerFlags(volume=(f"{shared_mount}:/base:{propagation}",)).apply(shell(id, script)), stdout
    )
    wait_until(lambda: stdout.data == b"ready\n", "the start of the script")
    subprocess.run(["mount", "-t", "tmpfs", "none", shared_mount / "late"], check=True)
    (shared_mount / "late/file").touch()
    executor.stop(id, PATIENCE)
    assert stdout.data == b"ready\n" + seen


@pytest.mark.parametrize(("propagation", "seen"), [("rshared", ["file"]), ("rslave", [])])
def test_mounts_of_a_container_reach_the_host_where_that_was_asked_for(
    inside: Inside, shared_mount: Path, propagation: str, seen: list[str]
) -> None:
    script = "mount -t tmpfs none /base/late && touch /base/late/file && echo mounted"
    lines, _ = inside(script, volume=(f"{shared_mount}:/base:{propagation}",), cap_add=("SYS_ADMIN",))
    assert lines == ["mounted"]
    assert os.listdir(shared_mount / "late") == seen


def test_the_process_has_the_user_and_groups_of_the_containers_files(inside: Inside) -> None:
    assert inside("id -u; id -g; id -G", user="5:6")[0] == ["5", "6", "6"]
    assert inside("id -u; id -G", user="root:7")[0] == ["0", "7"]


def test_too_much_memory_ends_the_plugin_and_its_status_says_so(inside: Inside) -> None:
    _, status = inside("exec tail -c 64m /dev/zero", memory="16m")
    assert status.oom_killed
    assert status.exit_code == 137
    assert not inside("true", memory="16m")[1].oom_killed


def cgroup_file(id: str, v1: str, v2: str) -> str:
    mount = Path("/sys/fs/cgroup")
    controller, _, name = v1.partition("/")
    path = mount / controller / "pluginexec" / id / name
    return (path if path.exists() else mount / "pluginexec" / id / v2).read_text().strip()


def test_the_kernel_has_the_limits_of_cpus_and_pids(executor: Executor, shell: Any, id: str) -> None:
    flags = ContainerFlags(cpus="0.5", pids_limit="17", memory="64m")
    executor.create(id, flags.apply(shell(id, "while :; do sleep 0.05; done")))
    assert cgroup_file(id, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert cgroup_file(id, "pids/pids.max", "pids.max") == "17"
    assert cgroup_file(id, "memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
    executor.stop(id, 0)


def test_no_limit_of_pids_is_no_limit(executor: Executor, shell: Any, id: str) -> None:
    executor.create(id, ContainerFlags(pids_limit="-1").apply(shell(id, "while :; do sleep 0.05; done")))
    assert cgroup_file(id, "pids/pids.max", "pids.max") == "max"
    executor.stop(id, 0)


def test_capabilities_are_gone_or_there(inside: Inside) -> None:
    script = "touch /tmp/own; chown 5 /tmp/own && echo changed; rm /tmp/own; grep CapEff /proc/self/status"
    assert inside(script)[0][0] == "changed"
    lines, _ = inside(script, cap_drop=("ALL",), cap_add=("KILL",))
    assert lines[0] == f"CapEff:\t{1 << 5:016x}"
    assert "Operation not permitted" in lines[1]
    (line,), _ = inside("grep CapBnd /proc/self/status", cap_add=("ALL",))
    assert line in Path("/proc/self/status").read_text().splitlines()


def test_a_read_only_root_file_system_still_has_writable_mounts(inside: Inside, tmp_path: Path) -> None:
    lines, _ = inside("touch /data/x && echo written; touch /x", read_only=True, volume=(f"{tmp_path}:/data",))
    assert lines[0] == "written"
    assert "Read-only file system" in lines[1]


def test_the_hosts_network_is_the_hosts_and_none_is_not(inside: Inside) -> None:
    mine = os.readlink("/proc/self/ns/net")
    lines, _ = inside("readlink /proc/self/ns/net; cat /etc/hosts", network="host")
    assert lines[0] == mine
    if os.path.exists("/etc/hosts"):
        assert lines[1:] == Path("/etc/hosts").read_text().splitlines()
    assert inside("readlink /proc/self/ns/net", network="none")[0] != [mine]
