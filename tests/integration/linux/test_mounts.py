"""What is mounted below a directory. Real: mounts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pluginexec.linux.mounts import mount_points_below, unmount_below

# Blanks and what the kernel escapes; what Python takes for the end of a line, and the kernel does not; no UTF-8.
NAMES = (" ", "\t", "\n", "\\", "#", "\\040", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\udcff")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_mount_is_found_and_unmounted_whatever_is_in_its_name(tmp_path: Path, name: str) -> None:
    point = tmp_path / f"a{name}b"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(point)], check=True, timeout=60)
    try:
        assert mount_points_below(tmp_path) == [str(point)]
        assert unmount_below(tmp_path)
    finally:
        subprocess.run(["umount", str(point)], stderr=subprocess.DEVNULL, timeout=60)
    assert not point.is_mount()


def test_a_name_that_goes_on_is_not_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "ab").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path / "ab")], check=True, timeout=60)
    try:
        assert mount_points_below(tmp_path / "a") == []
    finally:
        subprocess.run(["umount", str(tmp_path / "ab")], check=True, timeout=60)
