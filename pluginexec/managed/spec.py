"""Make the OCI spec of a plugin from its configuration and settings, as moby's ``InitSpec`` does.

Deliberate differences from moby:

- ``user`` is honoured; moby ignores it;
- a mount of the plugin under ``/dev`` replaces the default mount there, and no other; moby's loop deletes from the list
  that it walks, and depending on the order drops the plugin's mount instead;
- a capability that docker grants by default is not listed twice;
- the cgroup has a path of its own, under ``/pluginexec``, so that its events and statistics can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pluginexec.errors import InvalidArgument, shown
from pluginexec.linux.cgroups import default_cgroups_path
from pluginexec.managed.config import PluginConfig
from pluginexec.managed.settings import Settings
from pluginexec.oci.devices import ALLOW_ALL, DEFAULT_RULES, find_devices
from pluginexec.validation import check_id

PLUGINS_DIRECTORY = "/run/docker/plugins"
"""The directory of a plugin's socket, as the plugin sees it."""

# fmt: off
_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)
_INERT = ("nosuid", "noexec", "nodev")
# Destination, type, source, options; in the order in which they are mounted.
_MOUNTS = (
    ("/proc", "proc", "proc", _INERT),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/sys", "sysfs", "sysfs", (*_INERT, "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", *_INERT)),
    ("/dev/mqueue", "mqueue", "mqueue", _INERT),
    ("/dev/shm", "tmpfs", "shm", (*_INERT, "mode=1777")),
)
# As in moby's newest version; older ones have fewer.
_MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
# fmt: on
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACES = ("mount", "network", "uts", "pid", "ipc")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# For name resolution; docker mounts them with any type of network, also with "none".
_NETWORK_FILES = ("/etc/hosts", "/etc/resolv.conf")


def init_spec(
    config: PluginConfig, settings: Settings, *, id: str, rootfs: Path, exec_dir: Path, propagated_mount: Path
) -> dict[str, Any]:
    """Return the OCI spec of a plugin.

    - ``rootfs``: its root file system;
    - ``exec_dir``: the directory of the host that it sees as ``/run/docker/plugins``, and creates its socket in;
    - ``propagated_mount``: the directory of the host in which its mounts appear, if it has a propagated mount; this
      must be a shared mount when the plugin starts.

    Devices are looked up on this machine, now. Raises ``InvalidArgument`` for a mount or a device that is not set, and
    for a device that does not exist.
    """
    check_id(id)
    mounts = _defaults(config)
    if config.propagated_mount:
        mounts.append(_mount(config.propagated_mount, "bind", str(propagated_mount), ("rbind", "rw", "rshared")))
    mounts += _own(config, settings)
    mounts.append(_mount(PLUGINS_DIRECTORY, "bind", str(exec_dir), ("rbind", "rshared")))
    if config.network:
        mounts += [_mount(path, "bind", path, ("rbind", "ro")) for path in _NETWORK_FILES]
    return {
        "ociVersion": "1.0.2",
        "process": _process(config, settings),
        "root": {"path": str(rootfs)},
        "mounts": mounts,
        "linux": _linux(config, settings, id),
    }


def _process(config: PluginConfig, settings: Settings) -> dict[str, Any]:
    capabilities = list(dict.fromkeys([*_CAPABILITIES, *config.capabilities]))
    return {
        "user": {"uid": config.uid, "gid": config.gid},
        "args": [*config.entrypoint, *settings.args],
        "env": [_PATH, *settings.env],
        "cwd": config.workdir,
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
            "inheritable": list(config.capabilities),
        },
    }


def _linux(config: PluginConfig, settings: Settings, id: str) -> dict[str, Any]:
    shared = {"network": config.network == "host", "pid": config.pid_host, "ipc": config.ipc_host}
    devices, rules = find_devices(_paths(config, settings))
    allowed = ALLOW_ALL if config.allow_all_devices else DEFAULT_RULES
    linux = {
        "resources": {"devices": [*allowed, *rules]},
        "cgroupsPath": default_cgroups_path(id),
        "namespaces": [{"type": type} for type in _NAMESPACES if not shared.get(type)],
        "devices": devices,
        "maskedPaths": list(_MASKED_PATHS),
        "readonlyPaths": list(_READONLY_PATHS),
    }
    if config.propagated_mount:
        linux["rootfsPropagation"] = "rshared"
    return linux


def _defaults(config: PluginConfig) -> list[dict[str, Any]]:
    taken = {mount.destination for mount in config.mounts if mount.destination.startswith("/dev/")}
    return [_mount(*mount) for mount in _MOUNTS if mount[0] not in taken]


def _own(config: PluginConfig, settings: Settings) -> Iterable[dict[str, Any]]:
    for index, mount in enumerate(config.mounts):
        source = settings.mounts.get(mount.name, mount.source) if mount.name else mount.source
        if source is None or (mount.is_bind and not source.startswith("/")):
            what = f"mount {shown(mount.name)}" if mount.name else f"mounts[{index}]"
            raise InvalidArgument(
                f"{what} has {'no source' if not source else f'the source {shown(source)}'}",
                hint=f"set {mount.name or 'it'}.source to an absolute path of the host",
            )
        yield _mount(mount.destination, mount.type, source, mount.options)


def _paths(config: PluginConfig, settings: Settings) -> Iterable[str]:
    for index, device in enumerate(config.devices):
        path = settings.devices.get(device.name, device.path) if device.name else device.path
        if not path:
            what = f"device {shown(device.name)}" if device.name else f"linux.devices[{index}]"
            raise InvalidArgument(f"{what} has no path", hint=f"set {device.name or 'it'}.path to a device of the host")
        yield path


def _mount(destination: str, type: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": destination, "type": type, "source": source, "options": list(options)}
