"""Where test runs keep what they run, and whether there is anything; asked in runs that use nothing of it, too."""

from __future__ import annotations

import os

PLACES = "/run/pluginexec-tests"
LOCK = "lock"


def any_places() -> bool:
    """Tell whether there are places, be they in use or left."""
    try:
        return any(name != LOCK for name in os.listdir(PLACES))
    except OSError:
        return False
