"""Overlays. Real: the kernel's, on a file system of the test's own that can hold them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginexec.linux.mounts import mount_points_below, unmount, unmount_below
from pluginexec.linux.overlay import look_into, mount_overlay


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A file system that can hold the upper directory: the machine's own may be an overlay."""
    place = tmp_path / "fs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True, timeout=60)
    for name in ("upper", "work", "target"):
        (place / name).mkdir()
    yield place
    assert unmount_below(tmp_path)


def layers(place: Path, *names: str) -> list[str]:
    """Make directories with a file ``name`` each, that holds their number."""
    made = []
    for number, name in enumerate(names):
        layer = place / name
        layer.mkdir(parents=True)
        (layer / "name").write_text(str(number))
        (layer / f"only-{number}").touch()
        made.append(str(layer))
    return made


def mount(place: Path, lower: list[str]) -> Path:
    mount_overlay(str(place / "target"), lower, str(place / "upper"), str(place / "work"))
    return place / "target"


@pytest.mark.parametrize("count", [1, 2, 127])
def test_the_first_layer_is_the_topmost_and_changes_go_to_the_upper_directory(place: Path, count: int) -> None:
    directory = Path().absolute()
    target = mount(place, layers(place, *(f"{'long' * 20}/{number}/fs" for number in range(count))))
    assert (target / "name").read_text() == "0"
    assert (target / f"only-{count - 1}").exists()
    (target / "new").write_text("x")
    assert (place / "upper" / "new").read_text() == "x"
    unmount(str(target))
    assert mount_points_below(target) == []
    assert Path().absolute() == directory
    assert "pluginexec-mount" not in [thread.name for thread in threading.enumerate()]


def test_names_with_what_ends_an_option_or_a_directory_are_mounted(place: Path) -> None:
    target = mount(place, layers(place, "a:b,c\\d/fs", "with space/fs"))
    assert (target / "name").read_text() == "0"


def test_what_does_not_fit_in_a_page_is_an_error_and_not_cut_off(place: Path) -> None:
    with pytest.raises(OSError, match="30 layers take"):
        mount(place, layers(place, *(f"{number}{'x' * 200}/fs" for number in range(30))))
    assert not os.path.ismount(place / "target")


def test_a_missing_layer_is_an_error(place: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        mount(place, [str(place / "none" / "fs")])


def test_a_look_into_layers_sees_them_merged_and_leaves_no_mount(place: Path) -> None:
    lower = layers(place, "a/fs", "b/fs")

    def look(root: str) -> tuple[str, bool]:
        assert mount_points_of_this_thread(root)
        return Path(root, "name").read_text(), Path(root, "only-1").exists()

    assert look_into(lower, str(place / "target"), look) == ("0", True)
    assert mount_points_below(place / "target") == []


def test_what_a_look_raises_is_raised_and_leaves_no_mount(place: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        look_into(layers(place, "a/fs"), str(place / "target"), lambda root: 1 // 0)
    assert mount_points_below(place / "target") == []


def mount_points_of_this_thread(root: str) -> bool:
    return f" {root} " in Path("/proc/thread-self/mountinfo").read_text()
