"""The entries of a spec for devices of the host.

Real: device nodes, made as root. No containers.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pluginexec import InvalidArgument
from pluginexec.oci.devices import find_devices


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    """A directory with devices at two levels, and what is none."""
    for name, kind, number in (("b", stat.S_IFBLK, (7, 1)), ("below/a", stat.S_IFCHR, (1, 3))):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(tmp_path / "all" / name, kind | 0o600, os.makedev(*number))
        os.chmod(tmp_path / "all" / name, 0o640)
        os.chown(tmp_path / "all" / name, 3, 4)
    (tmp_path / "all" / "file").touch()
    (tmp_path / "all" / "link").symlink_to("b")
    (tmp_path / "link").symlink_to("all/b")
    (tmp_path / "every").symlink_to("all")
    return tmp_path


def test_a_device_is_described_with_its_mode_and_owner(nodes: Path) -> None:
    path = f"{nodes}/all/b"
    numbers = {"type": "b", "major": 7, "minor": 1}
    assert find_devices([path]) == (
        [{"path": path, **numbers, "fileMode": 0o640, "uid": 3, "gid": 4}],
        [{"allow": True, **numbers, "access": "rwm"}],
    )


def test_a_symbolic_link_is_resolved_and_keeps_its_name(nodes: Path) -> None:
    devices, _ = find_devices([f"{nodes}/link"])
    assert [(each["path"], each["type"], each["major"]) for each in devices] == [(f"{nodes}/link", "b", 7)]


@pytest.mark.parametrize("name", ["all", "all/", "every"])
def test_a_directory_stands_for_all_devices_below_it(nodes: Path, name: str) -> None:
    devices, rules = find_devices([f"{nodes}/{name}"])
    assert [each["path"] for each in devices] == [f"{nodes}/{name.rstrip('/')}/{each}" for each in ("b", "below/a")]
    assert [(rule["type"], rule["major"], rule["minor"]) for rule in rules] == [("b", 7, 1), ("c", 1, 3)]


@pytest.mark.parametrize(
    ("name", "says"), [("gone", "no such file"), ("all/file", "is neither a device"), ("a\0", "null")]
)
def test_what_is_no_device_is_refused(nodes: Path, name: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        find_devices([f"{nodes}/{name}"])
