"""The kernel's word on the end of an init process, by pidfd.

It comes even while containerd or ``ctr`` is dead or hung.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import time
from pathlib import Path

from pluginexec.errors import Unavailable
from pluginexec.linux.poll import wait_readable

# <linux/pidfd.h>, since Linux 6.15: struct pidfd_info up to exit_code, and the ioctl that fills it.
_INFO = struct.Struct("=QQ11Ii")
_INFO_EXIT = 1 << 3
_PIDFD_GET_INFO = (3 << 30) | (_INFO.size << 16) | (0xFF << 8) | 11
_REAP_TIMEOUT = 0.5


class InitProcess:
    """An init process, held by a pidfd: never a pid that may have become another process."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd

    @classmethod
    def open(cls, pid: int, *, started_since: float = 0.0) -> InitProcess | None:
        """Return the process that has ``pid`` now; ``None`` if there is none.

        ``started_since`` is a time of ``boot_seconds``: a process that started before it is not the one meant. Raises
        ``Unavailable`` where the process cannot be held, for want of descriptors.
        """
        try:
            init = cls(pid, os.pidfd_open(pid))
        except (ProcessLookupError, OverflowError, ValueError):
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:  # no number of a process
                return None
            # Not None: that would say that the process has ended.
            raise Unavailable(f"process {pid} cannot be held: {error.strerror}") from error
        # Read after the pidfd was opened: if that has not ended then, both are of the same process.
        try:
            started = start_seconds(pid)
        except OSError as error:
            init.close()
            raise Unavailable(f"process {pid} cannot be looked at: {error.strerror}") from error
        if started is None or started < started_since or init.has_ended():
            init.close()
            return None
        return init

    def has_ended(self) -> bool:
        """Return whether the process has ended, reaped or not."""
        if self.pidfd < 0:
            return True
        return bool(wait_readable(0, self.pidfd))

    def ends_within(self, timeout: float | None) -> bool:
        """Wait until the process has ended, ``timeout`` seconds at most; return whether it has."""
        return self.pidfd < 0 or bool(wait_readable(timeout, self.pidfd))

    def send(self, number: int) -> bool:
        """Send a signal; return whether the process had not ended."""
        if self.has_ended():
            return False
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def exit_code(self) -> int | None:
        """Return the exit code of a process that has ended, 128+n for signal n; ``None`` if the kernel cannot tell."""
        # The kernel knows it only once the shim has reaped the process, and only from Linux 6.15 on.
        deadline = time.monotonic() + _REAP_TIMEOUT
        while self.pidfd >= 0 and time.monotonic() < deadline:
            buffer = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 13))
            try:
                fcntl.ioctl(self.pidfd, _PIDFD_GET_INFO, buffer)
            except OSError as error:
                if error.errno != errno.ESRCH:  # ESRCH: ended, and nothing else to tell, until it is reaped
                    return None
            else:
                mask, *_, status = _INFO.unpack(buffer)
                if mask & _INFO_EXIT:
                    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            time.sleep(0.01)
        return None

    def close(self) -> None:
        """Close the pidfd."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def boot_seconds() -> float:
    """Return the time on the clock that the kernel stamps processes with; setting the wall clock does not move it."""
    # One tick less: the kernel rounds a start time down to whole ticks.
    return time.clock_gettime(time.CLOCK_BOOTTIME) - 1 / os.sysconf("SC_CLK_TCK")


def start_seconds(pid: int) -> float | None:
    """Return when a process started, on the clock of ``boot_seconds``; psutil's figure moves with the wall clock."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name, is in parentheses and may hold anything; the start time is the 22nd.
    return int(stat.rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
