"""Where test runs keep their directories, and whether a run has any; cheap to import, for runs that use no fixture."""

from __future__ import annotations

import os

RUN_DIRECTORIES = "/run/pluginexec-tests"
LOCK = "lock"


def has_run_directories(run: str) -> bool:
    """Return whether the workers of a run have directories, in use or left behind."""
    try:
        return any(run in name for name in os.listdir(RUN_DIRECTORIES))
    except OSError:
        return False
