"""The host's devices that a plugin may use, as an OCI spec names them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from pluginexec.errors import InvalidArgument, shown

_ANY_USE = "rwm"
_CHARACTER = "c"


def _rule(kind: str, major: int, minor: int, *, allow: bool = True) -> dict[str, Any]:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": _ANY_USE}


ALLOW_ALL = ({"allow": True, "access": _ANY_USE},)
"""The rules of a plugin that may use any device."""
DEFAULT_RULES = (
    {"allow": False, "access": _ANY_USE},
    # zero, null, urandom, random, tty, console; and not fuse, which stands apart in moby's list.
    *(_rule(_CHARACTER, *number) for number in ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))),
    _rule(_CHARACTER, 10, 229, allow=False),
)
"""The rules of any other plugin, before those for its devices: moby's."""


def find_devices(paths: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the entries of ``linux.devices`` and the rules of the control group for devices of this machine.

    A symbolic link stands for the device that it leads to, under its own name; a directory for all devices in it, and
    in the directories below. Raises ``InvalidArgument`` for a path where there is none.
    """
    devices = [device for path in paths for device in _found(path)]
    return devices, [_rule(each["type"], each["major"], each["minor"]) for each in devices]


def _found(path: str) -> list[dict[str, Any]]:
    try:
        real = os.path.realpath(path, strict=True)
        if os.path.isdir(real):
            devices = [
                device
                for found in _walk(real)
                if (device := _device(found, path.rstrip("/") + found.removeprefix(real)))
            ]
        else:
            device = _device(real, path)
            devices = [device] if device else []
    except (OSError, ValueError) as error:
        said = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise InvalidArgument(f"device {shown(path)}: {said.lower()}; name one that exists") from error
    if not devices:
        raise InvalidArgument(f"{shown(path)} is neither a device nor a directory with devices; name another")
    return devices


def _walk(directory: str) -> Iterator[str]:
    for parent, directories, files in os.walk(directory):
        directories.sort()
        yield from (os.path.join(parent, name) for name in sorted(files))


def _device(path: str, name: str) -> dict[str, Any] | None:
    """Return the entry for the device at ``path``, which the plugin sees as ``name``; ``None`` if it is none."""
    found = os.lstat(path)
    if stat.S_ISCHR(found.st_mode):
        kind = _CHARACTER
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        return None
    return {
        "path": name,
        "type": kind,
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
