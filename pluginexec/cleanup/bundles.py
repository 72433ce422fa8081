"""A bundle that containerd has forgotten: it blocks the id until containerd is restarted.

containerd leaves it where it is killed after it has made the directory and before it has written in it which runtime
it is for; and then no clean-up can read that, not even the one behind a shim that is killed.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from pluginexec.linux import trees
from pluginexec.linux.mounts import mount_points_below

log = logging.getLogger(__name__)

_TASKS = "io.containerd.runtime.v2.task"
_EXISTS = re.compile(r"mkdir (/.+): file exists")


def find_bundle(message: str, namespace: str, id: str) -> Path | None:
    """Return the bundle that a start found in its way, if that is what containerd's ``message`` says."""
    found = _EXISTS.search(message)
    path = Path(found[1]) if found else None
    return path if path and is_bundle(path, namespace, id) else None


def is_bundle(path: Path, namespace: str, id: str) -> bool:
    """Return whether a path is where containerd keeps the bundle of this id: nothing else may be removed."""
    return path.parts[-3:] == (_TASKS, namespace, id)


def remove_bundle(bundle: Path) -> bool:
    """Remove a bundle; return whether it is gone. One with a file system mounted in it is left alone."""
    if mount_points_below(bundle):  # what is mounted would be emptied
        return False
    log.warning("a bundle without a task was left, and is removed: %s", bundle)
    return trees.remove(bundle)
