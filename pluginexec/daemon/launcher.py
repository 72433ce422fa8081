"""Execute a program without what it would inherit: ``python -I -S launcher.py PROGRAM ARG...``.

A private containerd outlives the command that happened to start it, and its plugins inherit what it has: the nice
value, the CPU affinity, the limits and the like of that command are not passed on. This is a program of its own
because they must be set between fork and exec, where a process with threads must not run Python.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

CANNOT_RUN = "cannot run"
_INFINITE = resource.RLIM_INFINITY
# Soft and hard, as the kernel and systemd give them to a service; descriptors as containerd's own unit asks for.
_LIMITS = {
    resource.RLIMIT_CORE: (0, _INFINITE),
    resource.RLIMIT_STACK: (8 << 20, _INFINITE),
    resource.RLIMIT_MEMLOCK: (8 << 20, 8 << 20),
    resource.RLIMIT_NICE: (0, 0),
    resource.RLIMIT_RTPRIO: (0, 0),
    **dict.fromkeys(
        (
            resource.RLIMIT_AS,
            resource.RLIMIT_CPU,
            resource.RLIMIT_DATA,
            resource.RLIMIT_FSIZE,
            resource.RLIMIT_NPROC,
            resource.RLIMIT_RSS,
        ),
        (_INFINITE, _INFINITE),
    ),
}
_OPEN_FILES = 1 << 20
_LEAST_OPEN_FILES = 1024
"""Which a default spec gives its process, and the OCI runtime could not."""
_CPUS = 1 << 16
"""More than there are; the kernel takes those that exist and are allowed."""


def main(argv: list[str]) -> None:
    """Reset what is inherited, as far as this user may, and execute ``argv``."""
    steps: list[Callable[[], object]] = [
        lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, 0),
        lambda: os.sched_setaffinity(0, range(_CPUS)),
        lambda: Path("/proc/self/oom_score_adj").write_text("0", encoding="ascii"),
        lambda: _set_limit(resource.RLIMIT_NOFILE, *[min(_OPEN_FILES, _most_open_files())] * 2),
        *(lambda limit=limit, values=values: _set_limit(limit, *values) for limit, values in _LIMITS.items()),
    ]
    for step in steps:
        with contextlib.suppress(OSError, ValueError):
            step()
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if allowed < _LEAST_OPEN_FILES:  # what would start now could run no plugin, for later commands neither
        sys.exit(
            f"open files are limited to {allowed}, which this user may not raise; plugins need {_LEAST_OPEN_FILES}: "
            f"try it after 'ulimit -n {_LEAST_OPEN_FILES}'"
        )
    os.umask(0o022)
    os.chdir("/")
    # Ignored signals stay ignored after exec; Python itself ignores some.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # the C library keeps some for itself
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.exit(f"{CANNOT_RUN} {argv[0]!r}: {error.strerror}")


def _most_open_files() -> int:
    return int(Path("/proc/sys/fs/nr_open").read_text(encoding="ascii"))


def _set_limit(limit: int, soft: int, hard: int) -> None:
    try:
        resource.setrlimit(limit, (soft, hard))
    except (OSError, ValueError):  # only root may raise the hard one
        allowed = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (allowed if soft == _INFINITE else min(soft, allowed), allowed))


if __name__ == "__main__":
    main(sys.argv[1:])
