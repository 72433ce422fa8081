"""The logger: a small shell that the shim starts, and that copies a plugin's output to FIFOs or files.

The shim starts it with the container's stdout on descriptor 3, its stderr on 4, and waits until 5 is closed. It gets
no environment but ``CONTAINER_ID`` and ``CONTAINER_NAMESPACE``, and must live until the task is deleted: 1.6 sends
signals to its pid even when that is long reaped.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import quote

LOGGER_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a logger looks for its programs: it inherits no PATH."""
NO_LOGGER = ("--null-io",)
"""The arguments of ``ctr run`` for a plugin whose output is discarded: no logger at all."""

# On delete the shim sends SIGTERM, then waits 12 s, then kills: the shell waits while the two cats copy to the end,
# and if it is killed, they go on. "<>" opens a FIFO without a reader, and keeps writes from failing without a reader.
# Both copiers run before the container does, so that one that speaks is heard whichever process of the logger dies.
_SCRIPT = """\
PATH={path}
trap '' HUP INT TERM
exec 6{stdout} 7{stderr}
{keep}{copy_stdout} <&3 >&6 3<&- 4<&- 5<{mark} 6>&- 7>&- &
{copy_stderr} <&4 >&7 3<&- 4<&- 5<{mark} 6>&- 7>&- &
exec 5<{mark}
exec 3<&- 4<&-
wait
"""
# A cat that is killed is replaced: what it held is lost, at most 128 KiB, but the plugin's writes do not fail.
_COPY = "until cat; [ $? -lt 128 ]; do :; done"
# A file can be on a disk that is full: that must not hurt the plugin, whose writes would fail without a reader. So
# read and discard for a second, then try again.
_COPY_TO_FILE = "until cat; do [ $? -gt 128 ] || timeout -s KILL 1 cat >/dev/null || [ $? -eq 137 ] || break; done"
# The runtime writes its own error about a start that fails to the plugin's stderr, and ctr the pid of one that succeeds
# before any of its instructions runs: so what the first read gets, while there is no pid, is no line of the plugin's.
_FIRST = """\
while :; do
dd bs=64k count=1 of={first} 2>/dev/null && {{
[ -e {pid} ] && cat {first}; rm -f {first}
[ -e {pid} ] || exec cat >/dev/null
break; }}
[ $? -gt 128 ] || break
done
"""
# A reader may be killed with bytes unread, and a FIFO that is not held open forgets what is in it. Its writers end with
# the task, which 1.7 and later delete as they start: so keep the read ends open, which keeps no reader from its end.
# Whoever reads holds the lock, and removes the file before it lets go; if the file is there, it has not read all.
_KEEP = """\
exec {read_ends}
"""
_HOLD = """\
exec 6>&- 7>&-
while flock 3 && [ -e {lock} ]; do flock -u 3; sleep 1; done 3<{lock} &
"""


def redirect_to_fifo(path: Path) -> str:
    """Return the shell's redirection to a FIFO that we read."""
    return f"<>{shlex.quote(str(path))}"


def redirect_to_file(path: str | os.PathLike[str] | None) -> str:
    """Return the shell's redirection to the end of a file; ``None`` discards."""
    return ">/dev/null" if path is None else f">>{shlex.quote(os.path.abspath(os.fsdecode(path)))}"


def logger_arguments(
    stdout: str, stderr: str, lock: Path | None, mark: Path = Path(os.devnull), start: tuple[Path, Path] | None = None
) -> tuple[str, ...]:
    """Return the arguments of ``ctr run`` for a logger with these redirections; ``lock`` where FIFOs are among them.

    ``mark`` is what all its processes hold open as descriptor 5: by that they are found if they have to be ended.
    ``start``: the file that is there once the plugin was started, and one for what comes before; for a stderr that goes
    to a file, because FIFOs are made anew for each start.
    """
    keep = hold = ""
    if lock:
        fifos = (redirection.removeprefix("<>") for redirection in (stdout, stderr) if redirection.startswith("<>"))
        keep = _KEEP.format(read_ends=" ".join(f"{number}<{fifo}" for number, fifo in enumerate(fifos, 8)))
        hold = _HOLD.format(lock=shlex.quote(str(lock)))
    script = _SCRIPT.format(
        path=LOGGER_PATH,
        stdout=stdout,
        stderr=stderr,
        keep=keep,
        mark=shlex.quote(str(mark)),
        copy_stdout=_copy(stdout),
        copy_stderr=_copy(stderr, start),
    )
    return log_uri(script + hold)


def log_uri(script: str) -> tuple[str, ...]:
    """Return the arguments of ``ctr run`` for a logger that is a shell with this script."""
    # The shim takes the query apart and hands on "-c" and the script as two arguments.
    return ("--log-uri", f"binary:///bin/sh?-c={quote(os.fsencode(script), safe='')}")


def _copy(redirection: str, start: tuple[Path, Path] | None = None) -> str:
    if not redirection.startswith(">>"):
        return _COPY
    if start is None:
        return _COPY_TO_FILE
    pid, first = (shlex.quote(str(path)) for path in start)
    return f"{{ {_FIRST.format(pid=pid, first=first)}{_COPY_TO_FILE}; }}"
