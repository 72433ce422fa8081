"""Which program a process runs, and whether it is one of this user, on this machine.

The name and the arguments of a process are no proof: any user can choose them.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from pathlib import Path

from pluginexec.errors import Unavailable

_UIDS = re.compile(rb"^Uid:\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$", re.MULTILINE)
_CREDENTIALS = struct.Struct("3i")
_DELETED = " (deleted)"
# It has ended, or belongs to another user.
_NOT_OURS = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)


def is_ours(pid: int) -> bool:
    """Return whether a process belongs to our effective user, and shares our pid namespace and root directory.

    A process in a container does not, even if it is root. Raises ``Unavailable`` where that cannot be read now.
    """
    try:
        uids = _UIDS.search(Path(f"/proc/{pid}/status").read_bytes())
        # All of them: the arguments of a setuid program come from the user that runs it.
        return (
            uids is not None
            and set(map(int, uids.groups())) == {os.geteuid()}
            and os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
            and os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/proc/self/root"))
        )
    except OSError as error:
        return _not_ours(pid, error)


def program_name(pid: int) -> str:
    """Return the name of the file that a process executes, also if an upgrade has replaced it; empty if none is known.

    Raises ``Unavailable`` where it cannot be read now.
    """
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(_DELETED))
    except OSError as error:
        _not_ours(pid, error)
        return ""


def _not_ours(pid: int, error: OSError) -> bool:
    if error.errno in _NOT_OURS:
        return False
    raise Unavailable(f"process {pid} cannot be looked at: {error.strerror}") from error


def listener(address: str) -> int | None:
    """Return the pid of the process that listens on a Unix socket; ``None`` if there is none, or it is too busy.

    A process of a pid namespace that cannot be seen from here counts as none. Raises ``Unavailable`` without a
    descriptor to ask with.
    """
    try:
        probe = socket.socket(socket.AF_UNIX)
    except OSError as error:
        raise Unavailable(f"socket {address!r} cannot be tried: {error.strerror}") from error
    with probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except (OSError, ValueError):  # ValueError: no path of a socket
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid or None
