"""The entries of an OCI spec for the devices of the host that a plugin may use."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Any

from pluginexec.errors import InvalidArgument, shown
from pluginexec.linux.trees import files_below

_ANY_USE = "rwm"
_CHARACTER = "c"


def _rule(type: str, major: int, minor: int, *, allow: bool = True) -> dict[str, Any]:
    return {"allow": allow, "type": type, "major": major, "minor": minor, "access": _ANY_USE}


ALLOW_ALL = ({"allow": True, "access": _ANY_USE},)
"""The rules of a plugin that may use any device."""
DEFAULT_RULES = (
    {"allow": False, "access": _ANY_USE},
    # zero, null, urandom, random, tty, console; fuse is denied separately, as in moby's list.
    *(_rule(_CHARACTER, *number) for number in ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))),
    _rule(_CHARACTER, 10, 229, allow=False),
)
"""The rules of any other plugin, before those for its own devices; the same as moby's."""


def find_devices(paths: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the entries of ``linux.devices`` and the cgroup rules for devices of this machine.

    A symbolic link stands for its target, under the name of the link; a directory for all devices in it and below.
    Raises ``InvalidArgument`` for a path without a device.
    """
    devices = [device for path in paths for device in _devices_at(path)]
    return devices, [_rule(each["type"], each["major"], each["minor"]) for each in devices]


def _devices_at(path: str) -> list[dict[str, Any]]:
    try:
        real = os.path.realpath(path, strict=True)
        if os.path.isdir(real):
            files = [str(file) for file in files_below(real)]
            named = [(file, path.rstrip("/") + file.removeprefix(real)) for file in files]
            devices = [device for file, name in named if (device := _device_that_stays(file, name))]
        else:
            device = _device(real, path)
            devices = [device] if device else []
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise InvalidArgument(f"device {shown(path)}: {reason.lower()}; name one that exists") from error
    if not devices:
        raise InvalidArgument(f"{shown(path)} is neither a device nor a directory with devices; name another")
    return devices


def _device_that_stays(path: str, name: str) -> dict[str, Any] | None:
    """Return the entry for a device in a directory; ``None`` for one that has gone since, as in /dev/pts."""
    try:
        return _device(path, name)
    except FileNotFoundError:
        return None


def _device(path: str, name: str) -> dict[str, Any] | None:
    """Return the entry for the device at ``path``, named ``name`` in the plugin; ``None`` if it is not a device."""
    status = os.lstat(path)
    if stat.S_ISCHR(status.st_mode):
        type = _CHARACTER
    elif stat.S_ISBLK(status.st_mode):
        type = "b"
    else:
        return None
    return {
        "path": name,
        "type": type,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
