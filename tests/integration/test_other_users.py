"""Directories and files that another user could change are not used. Real: other users' files, links, commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pluginexec import Containerd, Executor, InvalidArgument, PermissionDenied, PluginExecError, Remote
from pluginexec.host.records import Record, Records
from tests.support.embedded import NOBODY
from tests.support.layouts import one_directory
from tests.support.probe import finished, pluginexec

OTHER = 65534
Trap = Callable[[Path], None]


def of_another_user(path: Path) -> None:
    """Make a directory that another user owns, with what root would act on."""
    path.mkdir(parents=True)
    (path / "mine").touch()
    os.chown(path, OTHER, OTHER)


def link(path: Path) -> None:
    """Make a link to a directory of ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "target").mkdir(mode=0o700)
    path.symlink_to("target")


def writable(path: Path) -> None:
    """Make a directory of ours that all can write to."""
    path.mkdir(parents=True)
    path.chmod(0o777)


TRAPS = {"belongs to user": of_another_user, "is a link": link, "can be written by other users": writable}
COMMANDS = (
    ("ps",), ("info",), ("create", "BUNDLE"), ("run", "BUNDLE"), ("serve",), ("doctor",), ("daemon", "status"),
    ("daemon", "stop", "--all"), ("rm", "x"), ("plugin", "ls"), ("plugin", "create", "x", "BUNDLE"), ("events",),
)  # fmt: skip


def everything_below(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_root_of_another_user_is_refused_whichever_command_comes_first(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    of_another_user(root)
    before = everything_below(tmp_path)
    arguments = [tmp_path / "bundle" if word == "BUNDLE" else word for word in command]
    code, out, err = finished(pluginexec("--root", root, "--state", tmp_path / "state", "-a", NOBODY, *arguments))
    assert (code, out) == (125, "")
    assert err.startswith(f"pluginexec: root directory '{root}' belongs to user ")
    assert "; hint: " in err or "\n" in err
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("said", TRAPS)
@pytest.mark.parametrize("which", ["root", "state"])
def test_neither_directory_may_be_one_that_others_can_change(which: str, said: str, tmp_path: Path) -> None:
    paths = {"root": tmp_path / "r" / "root", "state": tmp_path / "s" / "state"}
    TRAPS[said](paths[which])
    before = everything_below(tmp_path)
    code, out, err = finished(pluginexec("--root", paths["root"], "--state", paths["state"], "-a", NOBODY, "ps"))
    assert (code, out) == (125, "")
    assert f"{which} directory '{paths[which]}' {said}" in err
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("said", TRAPS)
def test_an_executor_refuses_such_a_directory(said: str, tmp_path: Path) -> None:
    TRAPS[said](tmp_path / "a" / "root")
    before = everything_below(tmp_path)
    with pytest.raises((PermissionDenied, InvalidArgument), match=said) as caught:
        Executor(tmp_path / "a" / "root", Remote(NOBODY))
    assert caught.value.hint
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("said", TRAPS)
@pytest.mark.parametrize("which", ["directory", "state"])
def test_a_private_containerd_refuses_such_a_directory(which: str, said: str, tmp_path: Path) -> None:
    paths = {"directory": tmp_path / "a" / "d", "state": tmp_path / "b" / "s"}
    TRAPS[said](paths[which])
    containerd = Containerd(paths["directory"], state=paths["state"], binary="false")
    with pytest.raises((PermissionDenied, InvalidArgument), match=said) as caught:
        containerd.start()
    assert caught.value.hint
    assert not list(tmp_path.rglob("config.toml"))


@pytest.mark.parametrize("name", ["config.toml", "containerd.pid", "containerd.log", "lock"])
def test_a_private_containerd_follows_no_link_among_its_files(name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "d" / name).symlink_to(victim)
    with pytest.raises(PluginExecError):
        Containerd(tmp_path / "d").start()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["plugin.json", "config.json", "state.json"])
def test_a_record_of_another_user_is_not_run_and_hides_no_other(name: str, tmp_path: Path, rootfs: Path) -> None:
    root = tmp_path / "root"
    where = ("--root", root, "-a", NOBODY)
    records = Records(one_directory(root))
    for id in ("good", "bad"):
        _create(records, id)
    os.chown(records.directory("bad") / name, OTHER, OTHER)
    for command in (("start", "bad"), ("inspect", "bad")):
        code, out, err = finished(pluginexec(*where, *command))
        assert (code, out) == (125, "")
        assert f"{name}' belongs to another user" in err
    code, out, err = finished(pluginexec(*where, "ps", "-a", "-q"))
    assert "good" in out.split()


def _create(records: Records, id: str) -> None:
    records.create(Record(id, datetime.now(timezone.utc), NOBODY, "n", ["true"]), {"process": {"args": ["true"]}})


def test_a_record_is_no_link(tmp_path: Path) -> None:
    records = Records(one_directory(tmp_path / "root"))
    _create(records, "x")
    path = records.directory("x") / "config.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InvalidArgument, match="cannot be read"):
        records.spec("x")
