"""Roots that may have a private containerd: their paths are short, and it is ended with all that it runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pluginexec import Containerd
from pluginexec.daemon.files import DaemonFiles
from pluginexec.daemon.private import private_address
from tests.support.layouts import one_directory

NOBODY = "/nonexistent/containerd.sock"
"""An address where nothing listens."""


def own_address(root: Path) -> str:
    """Return the address of the root's private containerd: where it is given, that one is started if need be."""
    return private_address(one_directory(root))


def running(root: Path) -> list[int]:
    """The pids of the root's private containerd."""
    return list(DaemonFiles(root / "containerd").processes())


@contextmanager
def short_root() -> Iterator[Path]:
    """A root directory that is its own state directory."""
    root = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))
    try:
        yield root
        if (root / "containerd").exists():
            with Containerd(root / "containerd"):  # it adopts what was left, and ends it
                pass
        assert not running(root)
    finally:
        shutil.rmtree(root)
