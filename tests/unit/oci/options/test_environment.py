"""The environment that flags give a process. Real: the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.oci.options.environment import changed_environment

ENV = ["PATH=/bin", "A=1"]
HERE = {"HOME": "/here", "EMPTY": ""}


def changed(*values: str, files: tuple[str, ...] = ()) -> list[str]:
    return changed_environment(ENV, values, files, HERE)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), ["PATH=/bin", "A=1"]),
        (("B=2",), ["PATH=/bin", "A=1", "B=2"]),
        (("A=2",), ["PATH=/bin", "A=2"]),
        (("B=1", "B=2"), ["PATH=/bin", "A=1", "B=2"]),
        (("B=x=y z ", "C="), ["PATH=/bin", "A=1", "B=x=y z ", "C="]),
        (("HOME", "EMPTY"), ["PATH=/bin", "A=1", "HOME=/here", "EMPTY="]),
        (("NOT_SET",), ["PATH=/bin", "A=1"]),
        (("A",), ["PATH=/bin"]),
    ],
)
def test_a_variable_is_set_as_docker_would(values: tuple[str, ...], expected: list[str]) -> None:
    assert changed(*values) == expected


def test_a_file_is_read_as_docker_would(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes("\ufeffB=1\r\n# comment\n\n  \n  C= not trimmed \nHOME\nNOT_SET\nA\nD=é\n".encode())
    assert changed(files=(str(file),)) == ["PATH=/bin", "A=1", "B=1", "C= not trimmed ", "HOME=/here", "D=é"]


def test_a_later_file_wins_and_env_wins_over_all_files(tmp_path: Path) -> None:
    for name, text in (("one", "B=1\nC=1\nD=1\n"), ("two", "C=2\nD=2\n")):
        (tmp_path / name).write_text(text)
    files = (str(tmp_path / "one"), str(tmp_path / "two"))
    assert changed("D=3", files=files)[2:] == ["B=1", "C=2", "D=3"]


@pytest.mark.parametrize("line", ["=secret", "A B=secret", "export A=secret", "A =secret"])
def test_a_bad_line_is_named_by_its_number_and_not_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "env").write_text(f"A=1\n{line}\n")
    with pytest.raises(InvalidArgument, match=r"--env-file '.*env': line 2 must be KEY=VALUE") as caught:
        changed(files=(str(tmp_path / "env"),))
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="--env-file '/no/such': it cannot be read: No such file"):
        changed(files=("/no/such",))
    (tmp_path / "env").write_bytes(b"A=\xff")
    with pytest.raises(InvalidArgument, match=r"--env-file '.*env': it is not utf-8"):
        changed(files=(str(tmp_path / "env"),))


def test_a_value_without_a_key_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidArgument, match=r"--env '=...': give KEY=VALUE") as caught:
        changed("=secret")
    assert "secret" not in str(caught.value)
