"""What could not be deleted yet, on disk. Real: the files and their locks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec.cleanup.unfinished import Hold, Leftover, Unfinished, ids_in

EXITED = Leftover("x", frozenset(), has_exited=True)
HALF_MADE = Leftover("y", frozenset({"", "0a1b"}), has_exited=False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where it is kept; not made yet."""
    return tmp_path / "unfinished"


@pytest.fixture
def unfinished(directory: Path) -> Unfinished:
    """What one process remembers."""
    return Unfinished(directory, "/a.sock", "n")


@pytest.fixture
def others(directory: Path) -> Unfinished:
    """What another process remembers, with descriptors of its own."""
    return Unfinished(directory, "/a.sock", "n")


def test_the_next_process_reads_what_was_stored(unfinished: Unfinished, others: Unfinished, directory: Path) -> None:
    assert others.load() == []
    for leftover in (EXITED, HALF_MADE):
        unfinished.store(leftover)
    assert others.load() == [EXITED, HALF_MADE]
    assert directory.stat().st_mode & 0o777 == 0o700
    unfinished.remove("x")
    assert others.load() == [HALF_MADE]
    assert ids_in(directory) == ["y"]


@pytest.mark.parametrize(("address", "namespace"), [("/b.sock", "n"), ("/a.sock", "m")])
def test_what_is_on_another_containerd_or_in_another_namespace_is_left_to_its_own(
    unfinished: Unfinished, directory: Path, address: str, namespace: str
) -> None:
    Unfinished(directory, address, namespace).store(EXITED)
    assert unfinished.load() == []
    assert ids_in(directory) == ["x"]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"address": "/a.sock", "namespace": "n"}', "[" * 9999])
def test_what_cannot_be_read_is_left_out(unfinished: Unfinished, directory: Path, content: str) -> None:
    unfinished.store(HALF_MADE)
    (directory / "x").write_text(content)
    assert unfinished.load() == [HALF_MADE]


def test_one_that_is_held_is_not_another_processs(unfinished: Unfinished, others: Unfinished) -> None:
    unfinished.store(EXITED)
    with unfinished.held("x") as hold, others.held("x") as second:
        assert (hold, second) == (Hold.OURS, Hold.OTHERS)
    with others.held("x") as hold:
        assert hold is Hold.OURS


def test_one_that_another_process_has_deleted_or_created_is_done(unfinished: Unfinished, others: Unfinished) -> None:
    unfinished.store(EXITED)
    others.remove("x")
    with unfinished.held("x") as hold:
        assert hold is Hold.DONE


def test_what_cannot_be_written_is_this_processs_to_delete(directory: Path, unfinished: Unfinished) -> None:
    directory.touch()
    unfinished.store(EXITED)
    with unfinished.held("x") as hold:
        assert hold is Hold.OURS
    unfinished.remove("x")


def test_with_its_root_removed_it_is_still_this_processs_to_delete(unfinished: Unfinished, directory: Path) -> None:
    unfinished.store(EXITED)
    (directory / "x").unlink()
    directory.rmdir()
    with unfinished.held("x") as hold:
        assert hold is Hold.OURS
