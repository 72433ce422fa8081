"""The spec of a plugin that brings none: containerd's defaults."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluginexec.errors import InvalidArgument
from pluginexec.linux.cgroups import default_cgroups_path
from pluginexec.oci.json_reader import plain_object, to_path
from pluginexec.oci.spec import check_spec
from pluginexec.validation import check_id

_MOST_ARGUMENTS = 100_000
# fmt: off
# The values below are what `ctr oci spec` prints, alike in containerd 1.6.20, 1.7.24 and 2.1.9; it masks
# /sys/devices/virtual/powercap from 1.7 on (CVE-2020-8694: power readings tell of other processes' secrets).
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)
_TMPFS_OPTIONS = ("nosuid", "strictatime", "mode=755", "size=65536k")
_INERT = ("nosuid", "noexec", "nodev")
# Destination, type, source, options; in the order in which they are mounted.
_MOUNTS = (
    ("/proc", "proc", "proc", _INERT),
    ("/dev", "tmpfs", "tmpfs", _TMPFS_OPTIONS),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", "shm", (*_INERT, "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", _INERT),
    ("/sys", "sysfs", "sysfs", (*_INERT, "ro")),
    ("/run", "tmpfs", "tmpfs", _TMPFS_OPTIONS),
)
_MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi",
)
# fmt: on
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# containerd's default where an image names none; without any, runc finds only commands given with their whole path.
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def default_spec(
    rootfs: str | os.PathLike[str],
    args: Sequence[str],
    *,
    id: str,
    env: Sequence[str] | None = None,
    cwd: str = "/",
    seccomp: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an OCI spec that runs ``args`` as root on the bare root filesystem in the directory ``rootfs``.

    ``env`` holds ``KEY=VALUE`` strings, added to containerd's default ``PATH`` unless one of them sets that; ``cwd`` is
    an absolute path in the container. A relative ``rootfs`` counts from this process's working directory.
    ``seccomp`` is the spec's ``linux.seccomp``: the system calls that the plugin may make. Without it, it may make all.

    Namespaces, mounts, the 14 capabilities (none inheritable or ambient), masked and read-only paths, no new
    privileges, 1,024 file descriptors, and no devices but those that runc adds (``/dev/null`` and its like) are
    containerd's defaults, as ``ctr oci spec`` prints them. ``ociVersion`` is the OCI runtime spec's that containerd 1.6
    to 2.1 all read. ``linux.cgroupsPath`` is our own: ``/pluginexec/<id>``. The host name stays the host's.

    Raises what ``load_spec`` raises, which the result has passed, and ``InvalidArgument`` for a bad ``id``.
    """
    check_id(id)
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "cgroupsPath": default_cgroups_path(id),
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
        "maskedPaths": _MASKED_PATHS,
        "readonlyPaths": _READONLY_PATHS,
    }
    if seccomp is not None:
        linux["seccomp"] = seccomp
    spec = {
        "ociVersion": "1.0.2",
        "process": _process(args, env, cwd),
        "root": {"path": str(to_path("rootfs must be a path", rootfs))},
        "mounts": [dict(zip(("destination", "type", "source", "options"), mount, strict=True)) for mount in _MOUNTS],
        "linux": linux,
    }
    return check_spec(plain_object(spec, "spec"), "spec", Path())


def _process(args: Sequence[str], env: Sequence[str] | None, cwd: str) -> dict[str, Any]:
    given = _listed("env", env or ())
    has_path = any(isinstance(entry, str) and entry.startswith("PATH=") for entry in given)
    return {
        "user": {"uid": 0, "gid": 0},
        "args": _listed("args", args),
        "env": given if has_path else [_PATH, *given],
        "cwd": cwd,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), DEFAULT_CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _listed(what: str, value: object) -> list[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise InvalidArgument(f"{what} must be a list of strings, not one {type(value).__name__}")
    return list(itertools.islice(value, _MOST_ARGUMENTS))  # a range may be without end, nearly
