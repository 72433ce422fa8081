"""A root directory that may not be used. Real: a read-only file system, another user."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginexec.errors import InvalidArgument, PermissionDenied
from pluginexec.root.root import Root


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written to, not even by root."""
    directory = tmp_path / "ro"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=700", "pluginexec-test", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


@pytest.mark.parametrize("sub", ["", "sub"])
def test_a_root_on_a_read_only_file_system_is_refused(read_only: Path, sub: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be used: Read-only file system"):
        Root(read_only / sub)


def as_nobody(directory: Path) -> str:
    """What a root directory leads to for a user without rights."""
    os.setgid(65534)
    os.setuid(65534)
    try:
        Root(directory)
    except PermissionDenied as error:
        return f"denied: {error}"
    return "allowed"


def test_a_user_without_rights_is_told_to_be_root(root_dir: Path) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(as_nobody, (root_dir / "x",)) == f"denied: permission denied: {root_dir}/x (run as root)"
        pool.close()
        pool.join()
