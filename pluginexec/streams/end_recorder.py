"""Write down the end of a plugin from beside it: a part of its logger, which runs whether it is supervised or not.

``ctr`` writes the pid into the plugin's directory before it starts the plugin. The logger then holds the process by a
pidfd, and when that has ended writes ``ended.json`` into the directory, with the keys of ``exit.json``: the time, what
the cgroup counted, and from Linux 6.15 on the exit code. So these are known whatever became of containerd.

Each logger loads this, so it imports only what is built into Python, no other module of the package.
"""

import posix
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select

_PID = "pid"
_ENDED = "ended.json"
_NEW_ENDED = "ended.json.new"
"""Exists while the process is held, or its record is about to be written."""
_READ = posix.O_RDONLY | posix.O_CLOEXEC
_WRITE = posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC
_POLLIN = 1
_SOON = 5
"""Milliseconds until the next look; ``ctr`` starts a plugin some 10 ms after it has written the pid."""
_LATER = 500
_MANY = 2000
"""Looks after which there are fewer: a create takes that long only where something hangs."""
_REAPED_WITHIN = 5_000_000_000
"""Nanoseconds in which the shim reaps the process; before, the kernel does not tell the exit code."""
# <linux/pidfd.h>: PIDFD_GET_INFO with 64 bytes, PIDFD_INFO_EXIT, and where the wait status is.
_GET_INFO, _SIZE, _INFO_EXIT, _STATUS = 0xC040FF0B, 64, 8, slice(60, 64)
_ESRCH = 3


class EndRecorder:
    """Records the end of the plugin whose files are in ``directory``, open or -1; ``poll`` is its owner's.

    ``pause``: milliseconds that the owner may wait, ``None`` for any time. Then it calls ``look``; it calls ``end``
    when ``pidfd`` is readable, and ``finish`` when the output has ended.
    """

    def __init__(self, directory: int, poll: "select.poll") -> None:
        self.pause: int | None = _SOON if directory >= 0 else None
        self.pidfd = -1
        self._poll = poll
        self._pid = self._looks = self._ended_at = 0
        self._late = self._oom_killed = False
        self._counter = ""
        self._directory = directory

    def has_begun(self) -> bool:
        """Return whether the plugin was started: what comes before that is the runtime's, about a start that fails."""
        return self._directory < 0 or bool(self._pid or _read(_PID, self._directory))

    def look(self) -> None:
        """Look for the process, or, when it has ended, for its exit code."""
        self._looks += 1
        if self._looks > _MANY:
            self.pause = _LATER
        try:
            if self._ended_at:
                self._seek_code()
            else:
                self._seek_process()
        except OSError:  # out of descriptors, or of room
            self.pause = None

    def end(self, *, late: bool = False) -> None:
        """Take the time of the end, which is now, or before if ``late``."""
        self._ended_at, self._late, self._looks, self.pause = time.time_ns(), late, 0, _SOON
        self._oom_killed = _has_counted(self._counter)
        if self.pidfd >= 0:
            self._poll.unregister(self.pidfd)
        self.look()

    def finish(self) -> None:
        """Record an end that is not recorded yet: when the output ends, the process has ended, or is about to."""
        if not self._pid:
            self.look()
        if self.pidfd >= 0 and not self._ended_at and self._poll.poll(1000):
            self.end()
        while self._ended_at and self.pause:
            time.sleep(self.pause / 1000)
            self.look()

    def _seek_process(self) -> None:
        text = _read(_PID, self._directory)
        if text.isdigit():
            self.pause = None
            self._hold(int(text))
        elif not posix.fstat(self._directory).st_nlink:  # removed: it was never started
            self.pause = None

    def _hold(self, pid: int) -> None:
        self._pid = pid
        try:
            pidfd = posix.pidfd_open(pid)
        except ProcessLookupError:
            if not _read(_ENDED, self._directory):  # which the logger before this one wrote
                self.end(late=True)
            return
        # Another process may have this pid by now: the shim is the parent of the plugin and of our shell.
        process, shell = _stat(pid), _stat(posix.getppid())
        if process and not (shell and process[1] == shell[1] and int(process[19]) >= int(shell[19])):
            posix.close(pidfd)
            return
        posix.close(posix.open(_NEW_ENDED, _WRITE, 0o600, dir_fd=self._directory))
        self._counter = _oom_counter(pid)
        self.pidfd = pidfd
        self._poll.register(pidfd, _POLLIN)
        if not process or process[0] == b"Z":
            self.end(late=True)

    def _seek_code(self) -> None:
        """Write the record as soon as the exit code is known, or cannot be."""
        reaped, code = _exit_code(self.pidfd) if self.pidfd >= 0 else (True, None)
        if reaped or time.time_ns() - self._ended_at > _REAPED_WITHIN:
            self.pause = None
            self._write(code)

    def _write(self, code: int | None) -> None:
        seconds, nanoseconds = divmod(self._ended_at, 1_000_000_000)
        at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds // 1000:06d}+00:00"
        record = (
            f'{{"pid": {self._pid}, "exit_code": {"null" if code is None else code}, "exited_at": "{at}",'
            f' "exited_at_is_upper_bound": {str(self._late).lower()}, "oom_killed": {str(self._oom_killed).lower()}}}'
        )
        descriptor = posix.open(_NEW_ENDED, _WRITE, 0o600, dir_fd=self._directory)
        posix.write(descriptor, record.encode())
        posix.close(descriptor)
        posix.rename(_NEW_ENDED, _ENDED, src_dir_fd=self._directory, dst_dir_fd=self._directory)


def _read(path: str, directory: int | None = None) -> bytes:
    """Return what is in a small file, nothing if it cannot be read."""
    try:
        descriptor = posix.open(path, _READ, dir_fd=directory)
    except OSError:
        return b""
    try:
        return posix.read(descriptor, 1 << 16)
    except OSError:
        return b""
    finally:
        posix.close(descriptor)


def _stat(pid: int) -> list[bytes]:
    """Return /proc/PID/stat from the third field on: state, parent, ..., start time as the 20th; nothing if gone."""
    # The second field, the name, is in parentheses and may hold anything.
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _oom_counter(pid: int) -> str:
    """Return the file in which the kernel counts what it killed for memory in the cgroup of a process."""
    path = ""
    for line in _read(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, cgroup = rest.partition(":")
        if cgroup == "/":  # so v1 lists a process that has ended
            continue
        if "memory" in controllers.split(","):
            return f"/sys/fs/cgroup/memory{cgroup}/memory.oom_control"
        if line.startswith("0::"):
            path = f"/sys/fs/cgroup{cgroup}/memory.events"
    return path


def _has_counted(path: str) -> bool:
    return any(line[:9] == b"oom_kill " and line[9:] != b"0" for line in _read(path).split(b"\n"))


def _exit_code(pidfd: int) -> tuple[bool, int | None]:
    """Return whether a process that has ended was reaped, and then its exit code, ``None`` if the kernel is older."""
    import fcntl  # not loaded before it is needed

    buffer = bytearray(_INFO_EXIT.to_bytes(8, sys.byteorder) + bytes(_SIZE - 8))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, buffer)
    except OSError as error:
        return error.errno != _ESRCH, None
    if not int.from_bytes(buffer[:8], sys.byteorder) & _INFO_EXIT:
        return False, None
    status = int.from_bytes(buffer[_STATUS], sys.byteorder)
    return True, 128 + (status & 0x7F) if status & 0x7F else status >> 8 & 0xFF
