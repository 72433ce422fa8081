"""A bundle is copied to a directory unchanged, completely or not at all, and nothing outside is touched.

Real: files, devices and owners, as root. No containers.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginexec import AlreadyExists, InvalidArgument, PluginExecError
from pluginexec.managed.bundle import unpack
from tests.support.tars import CONFIG, DIR, LNK, REG, SYM, Members, tar_of


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A bundle with one of each kind of file."""
    root = tmp_path / "source" / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root.parent / "config.json").write_bytes(CONFIG)
    (root.parent / "README").touch()
    (root / "bin" / "tool").write_bytes(b"\0" * 100_000 + b"end")
    os.chown(root / "bin" / "tool", 12, 34)
    os.chmod(root / "bin" / "tool", 0o4755)
    os.utime(root / "bin" / "tool", (1, 1_000_000_000))
    os.link(root / "bin" / "tool", root / "bin" / "twin")
    (root / "sbin").symlink_to("/bin")
    os.lchown(root / "sbin", 56, 78)
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    os.chmod(root / "bin", 0o1777)
    os.utime(root / "bin", (1, 1_100_000_000))
    return root.parent


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what there is to say of each file but a socket, by its path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode):
            continue
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        time = int(status.st_mtime) if status.st_mtime < 1_200_000_000 else "now"
        found[str(path.relative_to(root))] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_rdev, time),
            *(content, status.st_nlink if path.is_file() else 0),
        )
    return found


def packed(source: Path, path: Path, mode: str, prefix: str) -> Path:
    """Return a tar of a bundle."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name in ("config.json", "rootfs", "README"):
            tar.add(source / name, f"{prefix}{name}")
    return path


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(lambda source, path: source, id="directory"),
        pytest.param(lambda source, path: packed(source, path, "w", ""), id="tar"),
        pytest.param(lambda source, path: packed(source, path, "w:gz", "./"), id="tar.gz"),
        pytest.param(lambda source, path: packed(source, path, "w:xz", "/"), id="tar.xz"),
    ],
)
def test_a_bundle_keeps_contents_owners_modes_times_links_and_devices(
    whole: Path, tmp_path: Path, of: Callable[[Path, Path], Path]
) -> None:
    made = unpack(of(whole, tmp_path / "bundle"), tmp_path / "target")
    assert described(made / "rootfs") == described(whole / "rootfs")
    assert (made / "config.json").read_bytes() == CONFIG
    assert sorted(os.listdir(made)) == ["config.json", "rootfs"]
    assert os.path.samefile(made / "rootfs/bin/tool", made / "rootfs/bin/twin")


def test_file_capabilities_are_kept(whole: Path, tmp_path: Path) -> None:
    tool = whole / "rootfs" / "bin" / "tool"
    value = bytes.fromhex("0100000200040000000000000000000000000000")
    try:
        os.setxattr(tool, "security.capability", value)
    except OSError:  # a file system that has none
        value = b""
    with tarfile.open(tmp_path / "tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(whole / "config.json", "config.json")
        info = tar.gettarinfo(tool, "rootfs/tool")
        if value:
            info.pax_headers = {"SCHILY.xattr.security.capability": value.decode(errors="surrogateescape")}
        with tool.open("rb") as file:
            tar.addfile(info, file)
    for source, name in ((whole, "bin/tool"), (tmp_path / "tar", "tool")):
        made = unpack(source, tmp_path / f"target-{name.partition('/')[0]}")
        kept = made / "rootfs" / name
        assert (os.getxattr(kept, "security.capability") if value else b"") == value


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the target, that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    return tmp_path / "outside"


@pytest.mark.parametrize(
    ("members", "inside"),
    [
        pytest.param([("rootfs/../../outside/kept", REG, {"data": b"x"})], None, id="dots"),
        pytest.param([("/rootfs/../../outside/kept", REG, {"data": b"x"})], None, id="absolute dots"),
        pytest.param(
            [("rootfs/d", SYM, {"linkname": "../../outside"}), ("rootfs/d/kept", REG, {"data": b"x"})],
            "outside/kept",
            id="a relative link",
        ),
        pytest.param(
            [("rootfs/d", SYM, {"linkname": "{outside}"}), ("rootfs/d/kept", REG, {"data": b"x"})],
            "{outside}/kept",
            id="an absolute link",
        ),
        pytest.param(
            [("rootfs/d", SYM, {"linkname": "{outside}/kept"}), ("rootfs/d", REG, {"data": b"x"})],
            "d",
            id="a link instead of the file",
        ),
        pytest.param(
            [("rootfs/d", SYM, {"linkname": "{outside}"}), ("rootfs/d", DIR, {"mode": 0o700, "uid": 5})],
            None,
            id="a link instead of the directory",
        ),
    ],
)
def test_nothing_of_a_tar_comes_elsewhere(outside: Path, tmp_path: Path, members: Members, inside: str | None) -> None:
    here = {"outside": str(outside)}
    named = [
        (name, kind, {key: value.format(**here) if isinstance(value, str) else value for key, value in more.items()})
        for name, kind, more in members
    ]
    before = outside.stat()
    target = unpack(tar_of(tmp_path / "tar", named), tmp_path / "target")
    assert [path.read_text() for path in outside.iterdir()] == ["kept"]
    assert (outside.stat().st_mode, outside.stat().st_uid) == (before.st_mode, before.st_uid)
    if inside:
        assert Path(f"{target}/rootfs/{inside.format(**here)}").read_text() == "x"


def test_a_hard_link_to_a_file_outside_is_refused(outside: Path, tmp_path: Path) -> None:
    source = tar_of(tmp_path / "tar", [("rootfs/d", LNK, {"linkname": str(outside / "kept")})])
    with pytest.raises(InvalidArgument, match=r"entry 'rootfs/d' is a hard link to '.*', which is not an earlier file"):
        unpack(source, tmp_path / "target")
    assert (outside / "kept").stat().st_nlink == 1


def test_a_link_inside_leads_where_it_would_in_the_plugin(tmp_path: Path) -> None:
    members: Members = [
        ("rootfs/usr/bin", DIR, {}),
        ("rootfs/bin", SYM, {"linkname": "/usr/bin"}),
        ("rootfs/bin/sh", REG, {"data": b"shell"}),
        ("rootfs/bash", LNK, {"linkname": "rootfs/bin/sh"}),
        ("rootfs/ash", LNK, {"linkname": "bin/sh"}),
    ]
    target = unpack(tar_of(tmp_path / "tar", members), tmp_path / "target")
    assert (target / "rootfs/usr/bin/sh").read_bytes() == b"shell"
    assert (target / "rootfs/usr/bin/sh").stat().st_nlink == 3


@pytest.mark.parametrize(
    ("members", "says"),
    [
        pytest.param(
            [("rootfs/a", SYM, {"linkname": "a"}), ("rootfs/a/b", DIR, {})], "loop of symbolic links", id="a loop"
        ),
        pytest.param([("rootfs/a", REG, {}), ("rootfs/a/b", DIR, {})], "is below a file", id="below a file"),
        pytest.param(
            [("rootfs/a", REG, {"uid": 1 << 40})],
            "neither a directory nor a valid tar: uid is",
            id="no number of a user",
        ),
        pytest.param(
            [("rootfs/d", DIR, {}), ("rootfs/a", LNK, {"linkname": "d"})],
            "is a hard link to 'd', which is not an earlier file",
            id="a directory",
        ),
        pytest.param([("rootfs/a", b"9", {})], "of an unknown type", id="an unknown kind"),
    ],
)
def test_a_tar_that_makes_no_sense_is_refused(tmp_path: Path, members: Members, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        unpack(tar_of(tmp_path / "tar", members), tmp_path / "target")
    assert sorted(os.listdir(tmp_path)) == ["tar"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_that_was_cut_short_leaves_nothing(whole: Path, tmp_path: Path, mode: str) -> None:
    source = packed(whole, tmp_path / "tar", mode, "")
    data = source.read_bytes()
    for part in (3, 2):
        source.write_bytes(data[: len(data) // part])
        with pytest.raises(InvalidArgument, match="tar"):
            unpack(source, tmp_path / "target")
        assert sorted(os.listdir(tmp_path)) == ["source", "tar"]


def test_a_directory_that_is_in_use_is_left_alone_and_an_empty_one_is_taken(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    unpack(whole, tmp_path / "target")
    (tmp_path / "target" / "mine").touch()
    with pytest.raises(AlreadyExists, match=f"'{tmp_path}/target' already exists"):
        unpack(whole, tmp_path / "target")
    assert (tmp_path / "target" / "mine").exists()
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_a_full_disk_leaves_nothing(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(PluginExecError, match=r"cannot be unpacked to .*: No space left on device"):
        unpack(whole, tmp_path / "target")
    assert sorted(os.listdir(tmp_path)) == ["source"]


@pytest.mark.parametrize("form", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix"])
def test_holes_stay_holes_as_gnu_tar_writes_them(whole: Path, tmp_path: Path, form: str) -> None:
    with (whole / "rootfs" / "sparse").open("wb") as file:
        for number in range(60):
            file.seek(number << 20)
            file.write(bytes([number + 1]) * 5000)
        file.truncate(100 << 20)
    tar = tmp_path / "tar"
    options = ["--sparse", *f"--format={form}".split(), "--exclude=socket", "-C", str(whole)]
    subprocess.run(["tar", *options, "-cf", str(tar), "config.json", "rootfs"], check=True, timeout=60)
    target = unpack(tar, tmp_path / "target")
    assert described(target / "rootfs") == described(whole / "rootfs")
    assert (target / "rootfs" / "sparse").stat().st_blocks < 4000
