"""``--user``: names looked up in the ``/etc/passwd`` and ``/etc/group`` of a container's root file system.

What is in there is the plugin's, which may run at this moment: no link in it leads out of it, whatever it does.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from pluginexec.errors import InvalidArgument
from pluginexec.linux.files import file_error
from pluginexec.oci.options.values import refused

_LARGEST_ID = (1 << 31) - 1
_LARGEST_FILE = 16 << 20
_MOST_LINKS = 40
"""As many as the kernel follows."""
_ALLOWED = "give a name or a number, and if need be a group: name, uid, name:group or uid:gid"


def find_user(rootfs: str, value: str) -> dict[str, Any]:
    """Return the ``user`` of an OCI process for ``name|uid[:group|gid]``, as docker understands it.

    Without a group, those of the user in ``/etc/passwd`` and ``/etc/group`` are taken; numbers need no entry there.
    """
    name, colon, group = value.partition(":")
    if not name or (colon and not group):
        raise refused("--user", value, _ALLOWED)
    uid, user, gid = _user(rootfs, name, value)
    more: list[int] = []
    if group:
        gid = _group(rootfs, group, value)
    elif user:
        more = [number for _, number, members in _groups(rootfs) if user in members]
    # The first group is among the additional ones (CVE-2022-36109): else a process could give it up.
    return {"uid": uid, "gid": gid, "additionalGids": list(dict.fromkeys([gid, *more]))}


def _user(rootfs: str, name: str, value: str) -> tuple[int, str, int]:
    """Return the uid, the name and the group of a user; an empty name if it has no entry."""
    number = _number(name, value)
    for fields in _entries(rootfs, "etc/passwd"):
        uid, gid = (_known_id(text) for text in fields[2:4]) if len(fields) > 3 else (None, None)
        if uid is not None and gid is not None and (fields[0] == name if number is None else uid == number):
            return uid, fields[0], gid
    if number is None:
        raise refused("--user", value, "no such user in the container's /etc/passwd; give one that is, or a number")
    return number, "", 0


def _group(rootfs: str, name: str, value: str) -> int:
    number = _number(name, value)
    if number is not None:
        return number
    for group, gid, _ in _groups(rootfs):
        if group == name:
            return gid
    raise refused("--user", value, "no such group in the container's /etc/group; give one that is, or a number")


def _groups(rootfs: str) -> Iterator[tuple[str, int, list[str]]]:
    for fields in _entries(rootfs, "etc/group"):
        gid = _known_id(fields[2]) if len(fields) > 2 else None
        if gid is not None:
            yield fields[0], gid, fields[3].split(",") if len(fields) > 3 else []


def _number(text: str, value: str) -> int | None:
    """Return the number that a person gave, ``None`` for a name."""
    if not (text.isascii() and text.isdecimal()):
        return None
    number = _known_id(text)
    if number is None:
        raise refused("--user", value, f"the numbers go from 0 to {_LARGEST_ID}")
    return number


def _known_id(text: str) -> int | None:
    """Return the number in a file's entry, ``None`` if it cannot be one: such a line is not taken for root's."""
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(_LARGEST_ID)) or int(text) > _LARGEST_ID:
        return None
    return int(text)


def _entries(rootfs: str, path: str) -> Iterator[list[str]]:
    try:
        data = read_inside(rootfs, path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise file_error(error, f"--user: /{path} in {rootfs!r} cannot be read") from error
    for line in data.decode(errors="replace").split("\n"):
        if line and not line.startswith("#"):
            yield line.strip().split(":")


def read_inside(rootfs: str, path: str) -> bytes:
    """Return what is in the file at ``path`` as a process sees it whose root directory is ``rootfs``; ``OSError``."""
    with ExitStack() as opened:
        file = _open_inside(rootfs, path, opened)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        # What was found, not what is at its path by now.
        with open(f"/proc/self/fd/{file}", "rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise InvalidArgument(f"--user: /{path} in {rootfs!r} is over {_LARGEST_FILE >> 20} MiB; give numbers instead")
    return data


def _open_inside(rootfs: str, path: str, opened: ExitStack) -> int:
    """Open ``path`` step by step, each from the directory before it, and follow links by hand."""
    place = [_hold(rootfs, None, opened)]
    steps = path.split("/")
    links = 0
    while steps:
        step = steps.pop(0)
        if step == "..":
            place = place[:-1] or place  # the root is its own parent
        elif step not in ("", "."):
            found = _hold(step, place[-1], opened)
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                place.append(found)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink("", dir_fd=found)
            steps = target.split("/") + steps
            place = place[:1] if target.startswith("/") else place
    return place[-1]


def _hold(name: str, directory: int | None, opened: ExitStack) -> int:
    # O_PATH opens a link itself, and neither waits for a FIFO nor wakes a device. The root may be given by a link.
    follow = 0 if directory is None else os.O_NOFOLLOW
    descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC | follow, dir_fd=directory)
    opened.callback(os.close, descriptor)
    return descriptor
