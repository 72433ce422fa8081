"""``--cap-add`` and ``--cap-drop``, as docker understands them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pluginexec.oci.options.values import refused, section

_ALL = "ALL"
# <linux/capability.h>: the place of a name is the number.
# fmt: off
NAMES = tuple(f"CAP_{name}" for name in (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
))
# fmt: on


def change_capabilities(spec: dict[str, Any], added: Sequence[str], dropped: Sequence[str]) -> None:
    """Change the capabilities of a spec's process; what is both added and dropped by name is added."""
    adds = [_name("--cap-add", value) for value in added]
    drops = [_name("--cap-drop", value) for value in dropped]
    sets = section(spec, "process.capabilities")
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = _changed(sets.get(kind) or [], adds, drops)
    # The kernel wants these to be part of the others.
    for kind in ("inheritable", "ambient"):
        if sets.get(kind):
            sets[kind] = [name for name in sets[kind] if name in sets["bounding"]]


def _changed(names: Iterable[str], adds: Sequence[str], drops: Sequence[str]) -> list[str]:
    if _ALL in adds:
        return [name for name in _ours() if name not in drops]
    kept = [] if _ALL in drops else [name for name in names if name not in drops]
    return list(dict.fromkeys([*kept, *adds]))


def _name(flag: str, value: str) -> str:
    name = value.upper()
    if name in (_ALL, f"CAP_{_ALL}"):
        return _ALL
    name = f"CAP_{name.removeprefix('CAP_')}"
    if name not in NAMES:
        raise refused(flag, value, "give the name of a capability, such as NET_ADMIN or CAP_NET_ADMIN, or ALL")
    return name


def _ours() -> list[str]:
    """Return what this machine can give: where we run in a container ourselves, that is not all."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    (line,) = (line for line in status.splitlines() if line.startswith("CapBnd:"))
    mask = int(line.split()[1], 16)
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]
