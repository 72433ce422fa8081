"""``python3 -m tests``: which environment of tox it asks for, and what it prints without pip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.__main__ import install_tox, tox_arguments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["-e", "py"]),
        (["demo"], ["-e", "demo"]),
        (["lint,type"], ["-e", "lint,type"]),
        (["--", "-x"], ["-e", "py", "--", "-x"]),
        (["unit", "--", "tests/unit/root/test_root.py"], ["-e", "unit", "--", "tests/unit/root/test_root.py"]),
    ],
)
def test_the_first_word_names_the_environment_and_all_tests_are_the_default(
    arguments: list[str], expected: list[str]
) -> None:
    assert tox_arguments(arguments) == expected


def test_a_tox_that_is_there_is_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "complete").touch()
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    assert install_tox(tmp_path) == ""


def test_an_installation_that_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "boot"
    half = directory / "tox" / "__init__.py"
    half.parent.mkdir(parents=True)
    half.touch()

    def installs(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert not half.exists()
        directory.mkdir()
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", installs)
    assert install_tox(directory) == ""
    assert install_tox(directory) == ""
    assert (directory / "complete").exists()


def test_where_pip_is_missing_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, stderr="\npython3: No module named pip\n")

    monkeypatch.setattr(subprocess, "run", fails)
    assert install_tox(tmp_path) == "python3: No module named pip"
