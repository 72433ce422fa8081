"""The directories of a plugin on the host, and what is mounted there. Real: mounts. No containers."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pluginexec.linux import inotify, mounts
from pluginexec.linux.mounts import mount_points_below, unmount_below
from pluginexec.managed.config import load_config
from pluginexec.managed.directories import PluginDirectories
from tests.unit.managed.test_config import LEAST

CONFIG = load_config({**LEAST, "propagatedmount": "/mnt", "user": {"uid": 12, "gid": 34}})


@pytest.fixture
def made(tmp_path: Path) -> Iterator[PluginDirectories]:
    """PluginDirectories with a space in their path, prepared."""
    made = PluginDirectories(tmp_path / "with space")
    made.prepare(CONFIG)
    yield made
    made.remove()


def test_the_propagated_mount_is_a_shared_mount(made: PluginDirectories) -> None:
    assert mount_points_below(made.directory) == [str(made.propagated_mount)]
    named = str(made.propagated_mount).replace(" ", "\\040")
    (line,) = (line for line in Path("/proc/self/mountinfo").read_text().splitlines() if named in line)
    assert " shared:" in line


def test_only_the_user_of_the_plugin_can_make_its_socket(made: PluginDirectories) -> None:
    status = made.exec_dir.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o700, 12, 34)


def test_without_a_propagated_mount_nothing_is_mounted(tmp_path: Path) -> None:
    made = PluginDirectories(tmp_path / "x")
    made.prepare(replace(CONFIG, propagated_mount=""))
    assert mount_points_below(tmp_path) == []
    assert not made.propagated_mount.exists()


def test_all_that_was_mounted_is_unmounted_and_the_directories_go(made: PluginDirectories) -> None:
    for name in ("one", "one/two", "three"):
        (made.propagated_mount / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", str(made.propagated_mount / name)], check=True, timeout=60)
    (made.exec_dir / "x.sock").touch()
    made.clear()
    assert mount_points_below(made.directory) == []
    assert not made.exec_dir.exists()
    made.remove()
    assert not made.directory.exists()


def test_what_a_plugin_has_stored_stays_until_it_is_removed(made: PluginDirectories) -> None:
    (made.propagated_mount / "kept").write_text("kept")
    made.clear()
    assert (made.propagated_mount / "kept").read_text() == "kept"
    made.prepare(CONFIG)
    assert (made.propagated_mount / "kept").read_text() == "kept"
    made.remove()
    assert not made.directory.exists()


def test_what_a_plugin_has_bound_into_its_socket_directory_is_not_removed(
    made: PluginDirectories, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "precious").touch()
    (made.exec_dir / "bound").mkdir()
    mounts.mount(str(tmp_path / "host"), str(made.exec_dir / "bound"), mounts.MS_BIND)
    made.clear()
    assert (tmp_path / "host" / "precious").exists()
    assert not made.exec_dir.exists()


def test_where_something_cannot_be_unmounted_nothing_is_removed(
    made: PluginDirectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "precious").touch()
    (made.exec_dir / "bound").mkdir()
    mounts.mount(str(tmp_path / "host"), str(made.exec_dir / "bound"), mounts.MS_BIND)

    def refuse(target: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(mounts, "unmount", refuse)
        made.remove()
    assert (tmp_path / "host" / "precious").exists()
    assert [(record.levelno, "is still mounted below" in record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, True)
    ]
    made.remove()
    assert not made.directory.exists()


def test_the_mounts_of_others_with_a_similar_name_are_left_alone(tmp_path: Path) -> None:
    for name in ("x", "xy"):
        (tmp_path / name).mkdir()
        mounts.mount(str(tmp_path / name), str(tmp_path / name), mounts.MS_BIND)
    assert unmount_below(tmp_path / "x")
    assert mount_points_below(tmp_path) == [str(tmp_path / "xy")]
    assert unmount_below(tmp_path)


def test_what_the_kernel_refuses_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=str(tmp_path)):
        mounts.unmount(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        mounts.mount(str(tmp_path / "gone"), str(tmp_path), mounts.MS_BIND)
    with pytest.raises(FileNotFoundError):
        inotify.watch(str(tmp_path / "gone"), inotify.IN_CREATE)
