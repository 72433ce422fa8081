"""Directories that only this user can change. Real: the file system, the umask; other users by ``chown``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from pluginexec.errors import InvalidArgument, PermissionDenied, PluginExecError
from pluginexec.linux.directories import check_directory, is_there, make_directory, names_in

NOBODY = 65534


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this user another one than the owner of what the test has made."""
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)


@pytest.mark.parametrize("mask", [0o022, 0, 0o077, 0o777])
def test_it_is_for_its_owner_alone_and_its_parents_are_passable_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        make_directory(tmp_path / "a" / "b" / "c")
    assert [mode(tmp_path / path) for path in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o700]


def test_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    make_directory(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o755


def refusal(path: Path) -> PluginExecError:
    """Return the error for a directory; both functions must raise it, and make nothing."""
    before = sorted(path.parent.rglob("*")) if path.parent.is_dir() else []
    errors = []
    for function in (check_directory, make_directory):
        with pytest.raises(PluginExecError) as caught:
            function(path, "root directory")
        errors.append(caught.value)
    assert (sorted(path.parent.rglob("*")) if path.parent.is_dir() else []) == before
    assert {(type(error), str(error), error.hint) for error in errors} == {
        (type(errors[0]), str(errors[0]), errors[0].hint)
    }
    assert str(errors[0]).startswith(f"root directory '{path}' ")
    assert "\n" not in str(errors[0])
    return errors[0]


def test_a_link_is_refused_though_it_leads_to_a_directory_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    error = refusal(tmp_path / "link")
    assert isinstance(error, InvalidArgument)
    assert str(error).endswith("is a link")
    assert error.hint == f"use '{tmp_path}/real', where it leads to"


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert str(refusal(tmp_path / "link")).endswith("is a link")


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_what_is_no_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert isinstance(refusal(tmp_path / name), InvalidArgument)


@pytest.mark.usefixtures("foreign")
def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermissionDenied) as caught:
        check_directory(tmp_path)
    of_root = tmp_path.stat().st_uid == 0
    said = rf"permission denied: {tmp_path} \(run as root\)" if of_root else r".* belongs to user \w+, not to user \w+"
    assert re.fullmatch(said, str(caught.value))


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o1777])
def test_one_that_others_can_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(bits)
    error = refusal(tmp_path / "a")
    assert str(error).endswith("can be written by other users")
    assert error.hint == f"chmod go-w {tmp_path}/a"


@pytest.mark.parametrize("is_there", [True, False])
def test_one_below_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    if is_there:
        (tmp_path / "a" / "b" / "c").mkdir()
    (tmp_path / "a").chmod(0o777)
    error = refusal(tmp_path / "a" / "b" / "c")
    assert str(error).endswith(f"lies below '{tmp_path}/a', which other users can write to")


def test_below_a_sticky_directory_it_is_safe(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o1777)
    make_directory(tmp_path / "a" / "b")
    check_directory(tmp_path / "a" / "b")


def test_a_link_of_ours_above_it_is_followed_and_what_it_leads_through_is_checked(tmp_path: Path) -> None:
    (tmp_path / "x" / "real").mkdir(parents=True)
    (tmp_path / "x" / "there").symlink_to("../x/real")
    (tmp_path / "link").symlink_to(tmp_path / "x" / "there")
    make_directory(tmp_path / "link" / "a")
    assert mode(tmp_path / "x" / "real" / "a") == 0o700
    (tmp_path / "x").chmod(0o777)
    assert str(refusal(tmp_path / "link" / "a")).endswith("which other users can write to")


def test_links_in_a_circle_above_it_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert isinstance(refusal(tmp_path / "a" / "c"), InvalidArgument)


def test_a_directory_that_may_not_be_searched_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(path: str | Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "lstat", deny)
    with pytest.raises(PermissionDenied, match=f"^permission denied: {tmp_path}/a$"):
        check_directory(tmp_path / "a")
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(PermissionDenied, match=rf"^permission denied: {tmp_path}/a \(run as root\)$"):
        check_directory(tmp_path / "a")


def test_what_may_not_be_read_is_not_taken_for_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (names_in(tmp_path / "none"), is_there(tmp_path / "none")) == ([], False)
    (tmp_path / "a").touch()
    assert (names_in(tmp_path), is_there(tmp_path / "a")) == (["a"], True)
    assert (names_in(tmp_path / "a"), is_there(tmp_path / "a" / "b")) == ([], False)

    def deny(path: str | Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", deny)
    monkeypatch.setattr(os, "stat", deny)
    for look in (names_in, is_there):
        with pytest.raises(PermissionDenied, match=f"^permission denied: {tmp_path}$"):
            look(tmp_path)


def test_a_path_that_is_too_deep_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="lies too deep"):
        make_directory(tmp_path / Path(*["x"] * 400))
    assert not list(tmp_path.iterdir())
