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

NO_LOGGER = ("--null-io",)
"""The arguments of ``ctr run`` for a plugin whose output nobody wants: no logger at all."""

# On delete the shim sends SIGTERM, then waits 12 s, then kills: the shell waits while the two cats copy to the end,
# and if it is killed, they go on. "<>" opens a FIFO without a reader, and keeps writes from failing while nobody reads.
_SCRIPT = """\
PATH=/usr/sbin:/usr/bin:/sbin:/bin
trap '' HUP INT TERM
exec 6{stdout} 7{stderr} 5>&-
cat <&3 >&6 3<&- 4<&- 6>&- 7>&- &
cat <&4 >&7 3<&- 4<&- 6>&- 7>&- &
exec 3<&- 4<&-
wait
"""
# 1.7 and later delete stopped tasks as they start. If we are dead at that moment, nobody holds the FIFOs open, and what
# is in them is forgotten: so keep them open until somebody holds the lock, or the file is gone. (Given the path, flock
# would make a file that is gone, and this would never end.)
_HOLD = """\
while flock -n 8 8<{lock}; do sleep 1; done &
"""


def redirect_to_fifo(path: Path) -> str:
    """Return the shell's redirection to a FIFO that we read."""
    return f"<>{shlex.quote(str(path))}"


def redirect_to_file(path: str | os.PathLike[str] | None) -> str:
    """Return the shell's redirection to the end of a file; ``None`` discards."""
    return ">/dev/null" if path is None else f">>{shlex.quote(os.path.abspath(os.fsdecode(path)))}"


def logger_arguments(stdout: str, stderr: str, lock: Path | None) -> tuple[str, ...]:
    """Return the arguments of ``ctr run`` for a logger with these redirections; ``lock`` where FIFOs are among them."""
    script = _SCRIPT.format(stdout=stdout, stderr=stderr)
    if lock:
        script += _HOLD.format(lock=shlex.quote(str(lock)))
    # The shim takes the query apart and hands on "-c" and the script as two arguments.
    return ("--log-uri", f"binary:///bin/sh?-c={quote(os.fsencode(script), safe='')}")
