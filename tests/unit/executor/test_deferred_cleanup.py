"""What could not be deleted yet, among several executors on one root. Real: the files and their locks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

from pluginexec.cleanup.unfinished import Unfinished, ids_in
from pluginexec.errors import DeadlineExceeded
from pluginexec.executor import deferred_cleanup as module
from pluginexec.executor.deferred_cleanup import DeferredCleanup


class Side:
    """One executor's part; ``deleted`` is what it was told to delete, in the form ``id marks``."""

    def __init__(self, directory: Path) -> None:
        self.unfinished = Unfinished(directory, "/a.sock", "n")
        self.deferred = DeferredCleanup(lambda: self.deleted.append("later"), self.unfinished)
        self.deleted: list[str] = []

    def load(self) -> bool:
        """Read what others have left."""
        return self.deferred.load(lambda id: self.deleted.append(f"{id} exited"))

    def retry(self) -> list[str]:
        """Try again; return what was deleted by that."""
        self.deleted.clear()
        self.deferred.retry(self._reserve, self._remove_half_made)
        return self.deleted

    @contextlib.contextmanager
    def _reserve(self, id: str) -> Iterator[bool]:
        yield True

    def _remove_half_made(self, id: str, marks: Set[str], cgroup: str) -> None:
        self.deleted.append(f"{id} {' '.join(sorted(marks))}{cgroup}")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where both remember it."""
    return tmp_path / "unfinished"


@pytest.fixture
def one(directory: Path) -> Side:
    """The one that could not delete it."""
    return Side(directory)


@pytest.fixture
def other(directory: Path) -> Side:
    """The next one."""
    return Side(directory)


def test_what_one_could_not_delete_the_next_one_does_and_forgets(one: Side, other: Side, directory: Path) -> None:
    one.deferred.keep_half_made("a", {"m1"}, "/cgroup/a")
    one.deferred.keep_half_made("a", {"m2"})
    one.deferred.keep("b", lambda id: None)
    assert other.load()
    assert sorted(other.retry()) == ["a m1 m2/cgroup/a", "b exited"]
    assert ids_in(directory) == []
    assert one.retry() == []  # it is done


def test_one_that_is_created_anew_is_forgotten_on_disk_too(one: Side, other: Side, directory: Path) -> None:
    one.deferred.keep_half_made("a", {"m"})
    other.load()
    with one.deferred.creating("a"):
        assert other.retry() == ["later"]  # not while it is being created
        one.deferred.discard("a")
    assert ids_in(directory) == []
    assert other.retry() == []


def test_a_create_waits_for_one_that_deletes_but_not_for_ever(
    one: Side, other: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.deferred.keep_half_made("a", {"m"})
    monkeypatch.setattr(module, "IN_FLIGHT_TIMEOUT", 0.1)
    with (
        other.unfinished.held("a"),
        pytest.raises(DeadlineExceeded, match="another process"),
        one.deferred.creating("a"),
    ):
        pass
    with one.deferred.creating("a"):
        pass


def test_a_create_that_fails_again_is_remembered_with_both_marks(one: Side, other: Side) -> None:
    one.deferred.keep_half_made("a", {"m1"})
    other.load()
    with other.deferred.creating("a"):
        other.deferred.keep_half_made("a", {"m2"})
    assert Side(other.unfinished._directory).load()
    assert other.retry() == ["a m1 m2"]
