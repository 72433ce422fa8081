"""A tree is removed whatever is in it, and nothing beside it is touched."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginexec.linux import trees
from tests.support.deep import deep_directory, nest


@pytest.fixture
def deep() -> Iterator[Path]:
    with deep_directory() as directory:
        yield directory


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """As in a shell: far fewer than there are levels."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_tree_may_be_deeper_than_any_stack(deep: Path, few_descriptors: None) -> None:
    for name in ("one", "two"):
        (deep / "tree" / name).mkdir(parents=True)
        nest(deep / "tree" / name, 10_000)
        nest(deep / "tree" / name, 500, "b")
    assert trees.remove(deep / "tree")
    assert os.listdir(deep) == []


def test_all_kinds_of_files_go_and_links_lead_nowhere(tmp_path: Path) -> None:
    kept, tree = tmp_path / "kept", tmp_path / "tree"
    for directory in (kept, tree / "a" / "b" / "empty", tree / "c"):
        directory.mkdir(parents=True)
    (kept / "file").write_text("kept")
    (tree / "a" / "out").symlink_to(kept)
    (tree / "a" / "b" / "loop").symlink_to(tree)
    os.mkfifo(tree / "c" / "fifo")
    os.link(kept / "file", tree / "c" / "hard")
    (tree / "c" / os.fsdecode(b"\xff\n")).touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "c" / "s"))
    assert trees.remove(str(tree))
    assert os.listdir(tmp_path) == ["kept"]
    assert (kept / "file").read_text() == "kept"


def test_a_link_instead_of_a_tree_is_removed_itself_and_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "kept" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").touch()
    assert trees.remove(tmp_path / "link")
    assert trees.remove(tmp_path / "file")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "x"]


def test_what_does_not_exist_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for path in ("none", "none/none", "file/none"):
        assert trees.remove(tmp_path / path)
    assert not caplog.messages


def test_without_a_descriptor_all_stays_and_nothing_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    (tmp_path / "tree" / "inner").mkdir(parents=True)
    monkeypatch.setattr(os, "open", none)
    assert not trees.remove(tmp_path / "tree")
    assert caplog.messages == [f"cannot remove all of {tmp_path}/tree: Too many open files"]


def test_a_directory_that_a_link_replaces_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, inner = tmp_path / "kept", tmp_path / "tree" / "inner"
    for directory in (kept, inner):
        directory.mkdir(parents=True)
        (directory / "file").touch()
    rmdir = os.rmdir

    def swapping(name: str, *, dir_fd: int) -> None:
        try:
            rmdir(name, dir_fd=dir_fd)
        except OSError:
            if name == "inner" and not inner.is_symlink():
                inner.rename(tmp_path / "elsewhere")
                inner.symlink_to(kept)
            raise

    monkeypatch.setattr(os, "rmdir", swapping)
    assert not trees.remove(tmp_path / "tree")
    assert (kept / "file").exists()


def test_files_are_listed_in_order_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "tree" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "c").mkdir(parents=True)
    (tmp_path / "outside" / "c" / "file").touch()
    (tmp_path / "tree" / "b" / "file").touch()
    (tmp_path / "tree" / "a").symlink_to(tmp_path / "outside")
    (tmp_path / "tree" / "z").touch()
    listed = [str(path.relative_to(tmp_path / "tree")) for path in trees.files_below(tmp_path / "tree")]
    assert listed == ["a", "z", "b/file"]


def test_a_tree_that_is_deeper_than_a_path_is_listed_as_far_as_paths_reach(deep: Path) -> None:
    (deep / "file").touch()
    nest(deep, 3000)
    assert list(trees.files_below(deep)) == [deep / "file"]


@pytest.mark.parametrize("name", ["rmtree", "copytree", "os.walk(", ".rglob("])
def test_no_module_has_another_way(name: str) -> None:
    package = Path(trees.__file__).parents[1]
    users = [str(path) for path in trees.files_below(package) if path.suffix == ".py" and name in path.read_text()]
    assert users == []
