"""What a running plugin uses, as docker counts it: CPU time, memory, network, block devices, processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pluginexec.linux.cgroups import CgroupPath, block_io, cpu_used, memory_limit, memory_used, pids_limit, pids_used

_LOOPBACK = "lo"
# In /proc/PID/net/dev: bytes received, seven more numbers about that, bytes sent.
_RECEIVED, _SENT = 0, 8


@dataclass(frozen=True)
class Usage:
    """What a plugin used up to ``taken_at``, in seconds of the monotonic clock; ``None`` is unknown.

    CPU time is in nanoseconds, all else in bytes; ``memory_limit`` is that of the machine where there is no other.
    """

    taken_at: float
    cpu_time: int | None
    memory: int | None
    memory_limit: int
    received: int | None
    sent: int | None
    block_read: int | None
    block_written: int | None
    pids: int | None
    pids_limit: int | None


def measure(pid: int, cgroup: CgroupPath) -> Usage:
    """Return what a plugin uses; starts no process, and asks no containerd."""
    received, sent = _network(pid) or (None, None)
    read, written = block_io(cgroup) or (None, None)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Usage(
        taken_at=time.monotonic(),
        cpu_time=cpu_used(cgroup),
        memory=memory_used(cgroup),
        # v1 shows no limit as one that is beyond all memory.
        memory_limit=min(memory_limit(cgroup) or machine, machine),
        received=received,
        sent=sent,
        block_read=read,
        block_written=written,
        pids=pids_used(cgroup),
        pids_limit=pids_limit(cgroup),
    )


def cpu_percent(before: Usage, after: Usage) -> float | None:
    """Return how much of one CPU was used between the two, in percent: 200 for two of them; ``None`` if unknown."""
    seconds = after.taken_at - before.taken_at
    if before.cpu_time is None or after.cpu_time is None or seconds <= 0:
        return None
    return max(0, after.cpu_time - before.cpu_time) / 1e9 / seconds * 100


def memory_percent(usage: Usage) -> float | None:
    """Return how much of its limit, or of the machine's memory, is in use, in percent."""
    return None if usage.memory is None else usage.memory / usage.memory_limit * 100


def _network(pid: int) -> tuple[int, int] | None:
    """Return the bytes received and sent; none on the host's network, where they are not the plugin's alone."""
    process = Path("/proc", str(pid))
    try:
        if (process / "ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino:
            return 0, 0
        text = (process / "net/dev").read_text(encoding="ascii", errors="replace")
    except OSError:  # it has ended
        return None
    return parse_interfaces(text)


def parse_interfaces(text: str) -> tuple[int, int]:
    """Parse ``/proc/PID/net/dev``: return the bytes received and sent by all interfaces but the loopback."""
    received = sent = 0
    for line in text.splitlines():
        name, colon, numbers = line.partition(":")
        counts = numbers.split()
        if colon and name.strip() != _LOOPBACK and len(counts) > _SENT:
            received += int(counts[_RECEIVED])
            sent += int(counts[_SENT])
    return received, sent
