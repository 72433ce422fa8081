"""Where something is mounted, as the kernel tells it."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Blanks, backslashes and line ends in a path are written as \040 and the like.
_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount_points_below(directory: Path) -> list[str]:
    """Return where something is mounted on a directory and below it, in the order in which that was done."""
    prefix = f"{os.path.realpath(directory)}/"
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [_ESCAPE.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in lines]
    return [point for point in points if f"{point}/".startswith(prefix)]
