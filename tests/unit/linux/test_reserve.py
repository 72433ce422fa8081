"""Files whose space is taken beforehand. Real: the files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pluginexec.linux.reserve import RESERVED, reserve, write_in_place


@pytest.mark.parametrize("error", [None, errno.EOPNOTSUPP])
def test_what_was_reserved_takes_its_blocks_and_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    def cannot(*_: int) -> None:
        raise OSError(error, "")

    if error:
        monkeypatch.setattr(os, "posix_fallocate", cannot)
    path = tmp_path / "file"
    reserve(path)
    status = path.stat()
    assert status.st_size == RESERVED
    assert status.st_mode & 0o777 == 0o600
    write_in_place(path, "text ü")
    assert path.read_text() == "text ü"
    assert path.stat().st_ino == status.st_ino


def test_no_space_to_reserve_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        reserve(tmp_path / "file")


def test_a_link_is_not_followed_and_what_was_not_reserved_is_made(tmp_path: Path) -> None:
    write_in_place(tmp_path / "new", "text")
    assert (tmp_path / "new").read_text() == "text"
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(OSError, match="symbolic"):
        reserve(tmp_path / "link")
    with pytest.raises(OSError, match="symbolic"):
        write_in_place(tmp_path / "link", "x")
    assert (tmp_path / "new").read_text() == "text"
