"""What a plugin uses. Real: containerd, plugins with limits, the kernel's counters, and this machine's interfaces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec.host.usage import Usage, cpu_percent, measure, parse_interfaces

NOTHING = Usage(0.0, None, None, 1, None, None, None, None, None, None)


def test_the_network_of_the_host_is_not_the_plugins() -> None:
    host = measure(os.getpid(), "/pluginexec/none")
    assert (host.received, host.sent) == (0, 0)


def test_the_interfaces_of_this_machine_are_summed_without_the_loopback() -> None:
    def psutils() -> tuple[int, int]:
        counters = {
            name: each for name, each in psutil.net_io_counters(pernic=True, nowrap=False).items() if name != "lo"
        }
        return sum(each.bytes_recv for each in counters.values()), sum(each.bytes_sent for each in counters.values())

    before = psutils()
    received, sent = parse_interfaces(Path("/proc/net/dev").read_text())
    after = psutils()
    assert before[0] <= received <= after[0]
    assert before[1] <= sent <= after[1]


def test_interfaces_are_counted_however_their_lines_are_spaced() -> None:
    header = (
        "Inter-|   Receive      |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n"
    )
    lines = "    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0:1000 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n"
    lines += " veth1: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n"
    assert parse_interfaces(header + lines) == (1001, 22)
    assert parse_interfaces("") == (0, 0)


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        pytest.param((1.0, 0), (2.0, 500_000_000), 50, id="half of one"),
        pytest.param((1.0, 0), (1.5, 1_000_000_000), 200, id="two"),
        pytest.param((1.0, 7), (2.0, 7), 0, id="none"),
        pytest.param((1.0, 9), (2.0, 7), 0, id="less than before: another cgroup"),
        pytest.param((1.0, 9), (1.0, 9), None, id="no time between"),
        pytest.param((1.0, None), (2.0, 9), None, id="not known before"),
        pytest.param((1.0, 9), (2.0, None), None, id="not known now"),
    ],
)
def test_percent_is_of_one_processor(before: Any, after: Any, percent: float | None) -> None:
    def usage(taken_at: float, cpu_time: int | None) -> Usage:
        return Usage(**(vars(NOTHING) | {"taken_at": taken_at, "cpu_time": cpu_time}))

    assert cpu_percent(usage(*before), usage(*after)) == percent
