"""Directories nested deeper than paths, frames and descriptors reach; they are removed also if a test fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEMORY = "/dev/shm"  # a hundred times faster than a disk, where there is one


def nest(directory: Path, levels: int, name: str = "a") -> None:
    """Make as many directories, one in the other, and a file in the last."""
    current = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(levels):
            os.mkdir(name, dir_fd=current)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
        os.close(os.open("last", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    finally:
        os.close(current)


@contextlib.contextmanager
def deep_directory() -> Iterator[Path]:
    """Make a directory that may become deep: pytest could not remove it below its own."""
    directory = tempfile.mkdtemp(prefix="px-deep-", dir=_MEMORY if os.path.isdir(_MEMORY) else None)
    try:
        yield Path(directory)
    finally:
        subprocess.run(["rm", "-rf", "--", directory], check=True)
