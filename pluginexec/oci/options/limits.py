"""``--memory``, ``--cpus`` and ``--pids-limit``, as ``linux.resources`` of a spec; runc knows cgroup v1 and v2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pluginexec.oci.options.values import parse_size, refused, section

_LEAST_MEMORY = 6 << 20
"""docker's: with less, not even runc can start."""
_PERIOD = 100_000
"""Microseconds; the kernel's default, and docker's."""
_CPUS = re.compile(r"[0-9]{1,6}|[0-9]{0,6}\.[0-9]{1,9}", re.ASCII)
_NUMBER = re.compile(r"-1|[0-9]{1,18}", re.ASCII)
# Where the kernel shows that it can limit swap: cgroup v1, v2. The root has no such file in v2.
_SWAP_FILES = ("memory/memory.memsw.limit_in_bytes", "*/memory.swap.max")


def limit_memory(spec: dict[str, Any], value: str) -> None:
    """Set the limit; with swap it is twice as much, as docker's, where the kernel can limit that."""
    limit = parse_size("--memory", value)
    if limit < _LEAST_MEMORY:
        raise refused("--memory", value, "give at least 6m")
    memory = section(spec, "linux.resources.memory")
    memory["limit"] = limit
    memory.pop("swap", None)  # that of a bundle may be smaller
    if _can_limit_swap():
        memory["swap"] = 2 * limit


def limit_cpus(spec: dict[str, Any], value: str) -> None:
    """Set how much of a CPU may be used in each period."""
    if not _CPUS.fullmatch(value) or float(value) < 0.01:
        raise refused("--cpus", value, "give a number of CPUs of at least 0.01, such as 1.5")
    section(spec, "linux.resources.cpu").update(quota=round(float(value) * _PERIOD), period=_PERIOD)


def limit_pids(spec: dict[str, Any], value: str) -> None:
    """Set how many processes and threads there may be."""
    if not _NUMBER.fullmatch(value) or int(value) == 0:
        raise refused("--pids-limit", value, "give a number from 1 on, or -1 for no limit")
    section(spec, "linux.resources.pids")["limit"] = int(value)


def _can_limit_swap() -> bool:
    return any(any(Path("/sys/fs/cgroup").glob(pattern)) for pattern in _SWAP_FILES)
