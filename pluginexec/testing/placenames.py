"""Where test runs keep what they run, and whether one has anything there: cheap, for runs that use nothing of it."""

from __future__ import annotations

import os

PLACES = "/run/pluginexec-tests"
LOCK = "lock"


def has_places(run: str) -> bool:
    """Tell whether there are places of the workers of a run, be they in use or left."""
    try:
        return any(run in name for name in os.listdir(PLACES))
    except OSError:
        return False
