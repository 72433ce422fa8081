"""What a running plugin uses. Real: containerd, the plugins, their cgroups and network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pluginexec.host.usage import Usage, cpu_percent, measure, memory_percent
from tests.support.harness import wait_until
from tests.support.plugins import Plugins

MIB = 1 << 20


def usage_of(plugins: Plugins, id: str) -> Usage:
    return measure(plugins.records.state(id).pid, f"/pluginexec/{id}")


def test_cpu_time_grows_while_a_plugin_works(plugins: Plugins) -> None:
    id = plugins.run("while :; do :; done")
    first = usage_of(plugins, id)
    wait_until(lambda: (cpu_percent(first, usage_of(plugins, id)) or 0) > 1, "a percent of CPU")


def test_memory_and_pids_are_counted_against_their_limits(plugins: Plugins) -> None:
    limits = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}}
    id = plugins.run("sleep 1000 & sleep 1000 & wait", resources=limits)
    wait_until(lambda: usage_of(plugins, id).pids == 3, "three processes")
    usage = usage_of(plugins, id)
    assert (usage.memory_limit, usage.pids_limit) == (64 * MIB, 50)
    assert usage.memory
    assert 0 < usage.memory < 64 * MIB
    assert memory_percent(usage) == usage.memory / (64 * MIB) * 100


def test_files_that_could_be_dropped_are_no_memory(plugins: Plugins, rootfs: Path) -> None:
    id = plugins.run("dd if=/dev/zero of=/big bs=1M count=20; sync; exec sleep 1000")
    try:
        wait_until(lambda: (rootfs / "big").exists() and (rootfs / "big").stat().st_size == 20 * MIB, "the file")
        wait_until(lambda: (usage_of(plugins, id).memory or 99 * MIB) < 10 * MIB, "memory without the file")
    finally:
        (rootfs / "big").unlink()


def test_what_goes_to_a_block_device_is_counted(plugins: Plugins, rootfs: Path) -> None:
    # Newer kernels count under cgroup v1 only where there is a limit; this one is never reached.
    major, minor = disk_of(rootfs)
    limits = {"blockIO": {"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": 1 << 40}]}}
    script = "dd if=/dev/zero of=/direct bs=1M count=4 oflag=direct; rm /direct; exec sleep 1000"
    id = plugins.run(script, resources=limits)
    wait_until(lambda: usage_of(plugins, id).block_written == 4 * MIB, "4 MiB written")
    assert usage_of(plugins, id).block_read is not None


def disk_of(path: Path) -> tuple[int, int]:
    """Return the numbers of the disk that holds a file."""
    device = path.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    assert block.exists(), "temporary files must be on a disk: set TMPDIR"
    disk = block.resolve().parent if (block / "partition").exists() else block
    major, minor = (disk / "dev").read_text().split(":")
    return int(major), int(minor)


def test_without_a_limit_memory_is_measured_against_the_machines(plugins: Plugins) -> None:
    usage = usage_of(plugins, plugins.run())
    assert usage.memory_limit == psutil.virtual_memory().total
    assert usage.pids_limit is None


@pytest.fixture
def veth() -> Iterator[Callable[[int], None]]:
    """Connect a process's network with this machine's; IPv6 then says something by itself."""
    ours, its = f"pxa{os.getpid()}", f"pxb{os.getpid()}"

    def ip(*arguments: str) -> bool:
        return subprocess.run(["ip", "link", *arguments], check=False, capture_output=True).returncode == 0

    assert ip("add", ours, "type", "veth", "peer", "name", its), "the kernel must have veth"

    def connect(pid: int) -> None:
        assert ip("set", its, "netns", str(pid))
        enter = ["nsenter", "--net", "--target", str(pid), "ip", "link", "set", its, "up"]
        subprocess.run(enter, check=True, capture_output=True)
        assert ip("set", ours, "up")

    yield connect
    ip("del", ours)


def test_a_network_of_its_own_is_counted(plugins: Plugins, veth: Callable[[int], None]) -> None:
    id = plugins.run()
    assert (usage_of(plugins, id).received, usage_of(plugins, id).sent) == (0, 0)  # nothing but a loopback
    veth(plugins.records.state(id).pid)
    wait_until(lambda: (usage_of(plugins, id).received or 0) > 0, "something received")
    wait_until(lambda: (usage_of(plugins, id).sent or 0) > 0, "something sent")


def test_nothing_is_known_of_a_plugin_that_has_ended(plugins: Plugins) -> None:
    id = plugins.run("exit 0")
    plugins.host.wait(id)
    usage = usage_of(plugins, id)
    assert usage == Usage(usage.taken_at, None, None, usage.memory_limit, None, None, None, None, None, None)
    assert memory_percent(usage) is None
