"""The paths directly below a root and a state directory are named in one place. Real: the file system, the umask."""

from __future__ import annotations

import ast
import os
import re
import stat
from pathlib import Path

import pytest

from pluginexec.errors import FailedPrecondition
from pluginexec.root.layout import DEFAULT_ROOT, Layout

PACKAGE = Path(__file__).parents[3] / "pluginexec"
NAMES = {path.name for path in vars(Layout(Path("/r"), Path("/s"))).values()} - {"lock", "r", "s"}
"""Each directory has a lock, and so has the root."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_joins_such_a_name_to_a_root(path: Path) -> None:
    if path in (
        PACKAGE / "root" / "layout.py",
        PACKAGE / "testing" / "cleanup.py",
        PACKAGE / "doctor" / "smoke_test.py",
    ):
        return  # the directory of a run of tests, and that of the smoke test, are no roots
    joined = [
        node.right.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant)
    ]
    assert not NAMES & set(joined)


def test_the_default_root_has_its_state_directly_below_run_and_each_other_one_its_own() -> None:
    assert Layout.of("/var/lib/pluginexec").state == Path("/run/pluginexec")
    first, second = Layout.of("/srv/a").state, Layout.of("/srv/b").state
    assert first != second
    for state in (first, second):
        assert re.fullmatch(r"/run/pluginexec/by-root/[0-9a-f]{12}", str(state))


def test_a_state_directory_may_be_given_also_for_the_default_root() -> None:
    layout = Layout.of(DEFAULT_ROOT, "/s")
    assert (layout.root, layout.state) == (Path(DEFAULT_ROOT), Path("/s"))


def test_one_root_has_one_state_directory_by_each_of_its_paths(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert Layout.of(tmp_path / "link" / "root").state == Layout.of(tmp_path / "real" / "root").state


def test_what_survives_a_reboot_lies_below_the_root_and_all_else_below_the_state() -> None:
    paths = {name: path for name, path in vars(Layout(Path("/r"), Path("/s"))).items() if name not in ("root", "state")}
    of_root = {"plugins", "managed", "images", "seccomp", "containerd"}
    assert {name for name, path in paths.items() if path.parts[1] == "r"} == of_root
    assert all(path.parts[1] == "s" for name, path in paths.items() if name not in of_root)


@pytest.mark.parametrize("mask", [0o022, 0, 0o077])
def test_both_directories_are_for_their_owner_alone(tmp_path: Path, mask: int) -> None:
    layout = Layout.of(tmp_path / "r" / "root", tmp_path / "s" / "state")
    before = os.umask(mask)
    try:
        layout.make()
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (layout.root, layout.state)] == [0o700, 0o700]
    layout.make()
    layout.check()


def test_what_is_above_a_default_state_directory_is_as_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.root.layout.DEFAULT_STATE", str(tmp_path / "run"))
    layout = Layout.of(tmp_path / "root")
    layout.make()
    assert layout.state.parent == tmp_path / "run" / "by-root"
    for path in (tmp_path / "run", layout.state.parent, layout.state):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_the_state_directory_of_another_root_is_refused(tmp_path: Path) -> None:
    Layout.of(tmp_path / "a", tmp_path / "state").make()
    other = Layout.of(tmp_path / "b", tmp_path / "state")
    for use in (other.check, other.make):
        with pytest.raises(FailedPrecondition, match=f"belongs to another root, '{tmp_path}/a'") as caught:
            use()
        assert caught.value.hint


def test_looking_makes_nothing(tmp_path: Path) -> None:
    Layout.of(tmp_path / "a", tmp_path / "b").check()
    assert not list(tmp_path.iterdir())
