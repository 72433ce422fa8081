"""No entry of a tar and no file of a directory leads out of the bundle, in whatever order they come.

Real: files and links, as root; an executor. No containers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginexec import Executor, InvalidArgument, ManagedPlugin
from pluginexec.managed.bundle import rootfs_of, unpack
from tests.support.tars import CONFIG, DIR, LNK, REG, SYM, TOP, Members, raw_tar, tar_of

CONFIGURED: Members = TOP[:1]
HOSTILE = {"data": b"hostile"}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory of the host, whose files must stay as they are."""
    (tmp_path / "host" / "etc").mkdir(parents=True)
    (tmp_path / "host" / "etc" / "keep").write_text("of the host")
    return tmp_path / "host"


def assert_untouched(host: Path) -> None:
    assert [str(path.relative_to(host)) for path in sorted(host.rglob("*"))] == ["etc", "etc/keep"]
    assert (host / "etc" / "keep").read_text() == "of the host"
    assert (host / "etc" / "keep").stat().st_nlink == 1


def to(host: Path, members: Members) -> Members:
    """Fill in where the host is."""
    return [
        (name, kind, {key: value.format(host=host) if isinstance(value, str) else value for key, value in more.items()})
        for name, kind, more in members
    ]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        pytest.param(
            [*CONFIGURED, ("rootfs", SYM, {"linkname": "{host}"}), ("rootfs/etc/keep", REG, HOSTILE)],
            "entry 'rootfs' must be a directory",
            id="the root file system is a link",
        ),
        pytest.param(
            [*TOP, ("rootfs", SYM, {"linkname": "{host}"}), ("rootfs/etc/keep", REG, HOSTILE)],
            "entry 'rootfs' must be a directory",
            id="it becomes one later",
        ),
        pytest.param(
            [*CONFIGURED, ("./x/..//rootfs/", SYM, {"linkname": "{host}"}), ("rootfs/etc/keep", REG, HOSTILE)],
            "must be a directory",
            id="under a name that is not normal",
        ),
        pytest.param(
            [*CONFIGURED, ("rootfs", LNK, {"linkname": "{host}"}), ("rootfs/etc/keep", REG, HOSTILE)],
            "must be a directory",
            id="it is a hard link",
        ),
        pytest.param([*CONFIGURED, ("rootfs", REG, HOSTILE)], "must be a directory", id="it is a file"),
        pytest.param(
            [("config.json", SYM, {"linkname": "{host}/etc/keep"}), *TOP],
            "entry 'config.json' must be a regular file",
            id="the configuration is a link",
        ),
        pytest.param(
            [*TOP, ("config.json", SYM, {"linkname": "{host}/etc/keep"}), ("config.json", REG, HOSTILE)],
            "must be a regular file",
            id="it becomes one later",
        ),
        pytest.param(
            [*TOP, ("rootfs/../config.json", LNK, {"linkname": "{host}/etc/keep"})],
            "must be a regular file",
            id="it is a hard link by another name",
        ),
        pytest.param([*TOP, ("config.json/x", REG, HOSTILE)], "must be a regular file", id="it is a directory"),
        pytest.param(
            [*TOP, ("rootfs/d/f", REG, HOSTILE), ("rootfs/d", SYM, {"linkname": "{host}"})],
            "is to replace a directory that is not empty",
            id="a directory is swapped for a link",
        ),
        pytest.param(
            [*TOP, ("rootfs/a", LNK, {"linkname": "../../../../../../..{host}/etc/keep"})],
            "which is not an earlier file",
            id="a hard link with dots",
        ),
        pytest.param(
            [*TOP, ("rootfs/d", SYM, {"linkname": "{host}"}), ("rootfs/a", LNK, {"linkname": "rootfs/d/etc/keep"})],
            "which is not an earlier file",
            id="a hard link through a link",
        ),
        pytest.param(
            [*TOP, ("rootfs/a", LNK, {"linkname": "config.json"})], "not an earlier", id="to the configuration"
        ),
        pytest.param([*TOP, ("rootfs/a", LNK, {"linkname": ""})], "not an earlier file", id="a hard link to nothing"),
        pytest.param([*TOP, ("rootfs/a", LNK, {"linkname": "a"})], "not an earlier file", id="a hard link to itself"),
        pytest.param([*TOP, ("rootfs/a\x1b[2J\n/b", b"9", {})], r"entry 'rootfs/a\\x1b", id="control characters"),
        pytest.param(
            [*TOP, ("rootfs/a", REG, {"pax_headers": {"path": "rootfs/a\0b"}})],
            "has a zero byte in a name",
            id="a zero byte",
        ),
    ],
)
def test_what_would_lead_out_is_refused_and_leaves_nothing(
    host: Path, tmp_path: Path, members: Members, says: str
) -> None:
    source = raw_tar(tmp_path / "tar", to(host, members))
    with pytest.raises(InvalidArgument, match=says) as raised:
        unpack(source, tmp_path / "target")
    assert str(raised.value).isprintable()
    assert_untouched(host)
    assert sorted(os.listdir(tmp_path)) == ["host", "tar"]


@pytest.mark.parametrize(
    ("members", "where"),
    [
        pytest.param(
            [("rootfs/d", SYM, {"linkname": "{host}"}), ("rootfs/d/etc/keep", REG, HOSTILE)],
            "{host}/etc/keep",
            id="through a link in the root file system",
        ),
        pytest.param(
            [
                ("rootfs/a", SYM, {"linkname": "b"}),
                ("rootfs/b", SYM, {"linkname": "../../..{host}"}),
                ("rootfs/a/etc/keep", REG, HOSTILE),
            ],
            "{host}/etc/keep",
            id="through a link to a link with dots",
        ),
        pytest.param(
            [("rootfs/d", DIR, {}), ("rootfs/d", SYM, {"linkname": "{host}/etc"}), ("rootfs/d/keep", REG, HOSTILE)],
            "{host}/etc/keep",
            id="through a link that replaces an empty directory",
        ),
        pytest.param(
            [
                ("rootfs/d/e", DIR, {}),
                ("rootfs/d/e", SYM, {"linkname": "{host}/etc"}),
                ("rootfs/d/e/keep", REG, HOSTILE),
                ("rootfs/d/e", REG, {}),
                ("rootfs/d/e", SYM, {"linkname": "/f"}),
                ("rootfs/d/e/keep", REG, HOSTILE),
            ],
            "f/keep",
            id="through a name that changes what it is",
        ),
        pytest.param(
            [("rootfs/k", SYM, {"linkname": "{host}/etc/keep"}), ("rootfs/k", REG, HOSTILE)], "k", id="over a link"
        ),
        pytest.param(
            [
                ("rootfs/k", SYM, {"linkname": "{host}/etc/keep"}),
                ("rootfs/l", LNK, {"linkname": "rootfs/k"}),
                ("rootfs/l", REG, HOSTILE),
            ],
            "l",
            id="over a hard link to a link",
        ),
        pytest.param(
            [("rootfs/d", SYM, {"linkname": "{host}/etc"}), ("rootfs/d/keep/../../k", REG, HOSTILE)], "k", id="back"
        ),
    ],
)
def test_what_leads_elsewhere_stays_in_the_root_file_system(
    host: Path, tmp_path: Path, members: Members, where: str
) -> None:
    target = unpack(tar_of(tmp_path / "tar", to(host, members)), tmp_path / "target")
    assert_untouched(host)
    assert Path(f"{target}/rootfs/{where.format(host=host)}").read_bytes() == b"hostile"


def test_the_last_of_two_entries_of_one_name_counts(tmp_path: Path) -> None:
    members: Members = [("rootfs/f", REG, {"data": b"1"}), ("rootfs/d", DIR, {}), ("rootfs/f", REG, {"data": b"2"})]
    again: Members = [("config.json", REG, {"data": CONFIG + b"\n"}), ("rootfs/d", DIR, {"mode": 0o700})]
    target = unpack(tar_of(tmp_path / "tar", [*members, *again]), tmp_path / "target")
    assert (target / "rootfs" / "f").read_bytes() == b"2"
    assert (target / "rootfs" / "d").stat().st_mode & 0o777 == 0o700
    assert (target / "config.json").read_bytes() == CONFIG + b"\n"


def test_entries_may_come_in_any_order(tmp_path: Path) -> None:
    members: Members = [("rootfs/a/b/f", REG, HOSTILE), ("rootfs/a", DIR, {"mtime": 1e9, "mode": 0o711}), *TOP]
    target = unpack(raw_tar(tmp_path / "tar", members), tmp_path / "target")
    assert (target / "rootfs" / "a" / "b" / "f").read_bytes() == b"hostile"
    assert (target / "rootfs" / "a").stat().st_mtime == 1e9
    assert (target / "rootfs" / "a").stat().st_mode & 0o777 == 0o711


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A directory bundle."""
    (tmp_path / "bundle" / "rootfs" / "d").mkdir(parents=True)
    (tmp_path / "bundle" / "rootfs" / "d" / "f").write_bytes(b"mine")
    (tmp_path / "bundle" / "config.json").write_bytes(CONFIG)
    return tmp_path / "bundle"


@pytest.mark.parametrize("name", ["config.json", "rootfs"])
@pytest.mark.parametrize("link", ["{tmp}/elsewhere/{name}", "../elsewhere/{name}", "out/{name}", "..", "."])
def test_a_link_at_the_top_of_a_directory_that_leads_out_is_refused(
    bundle: Path, tmp_path: Path, name: str, link: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (bundle / name).rename(tmp_path / "elsewhere" / name)
    (bundle / "out").symlink_to("../elsewhere")
    (bundle / name).symlink_to(link.format(tmp=tmp_path, name=name))
    refused = f"'{name}' is a link that leads out of the bundle"
    with pytest.raises(InvalidArgument, match=refused):
        unpack(bundle, tmp_path / "target")
    with pytest.raises(InvalidArgument, match=refused):
        rootfs_of(bundle)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("link", ["inner/{name}", "{bundle}/inner/{name}", "again"])
def test_a_link_at_the_top_of_a_directory_may_lead_to_another_place_in_it(
    bundle: Path, tmp_path: Path, link: str
) -> None:
    (bundle / "inner").mkdir()
    for name in ("config.json", "rootfs"):
        (bundle / name).rename(bundle / "inner" / name)
        (bundle / f"again-{name}").symlink_to(bundle / "inner" / name)
        (bundle / name).symlink_to(link.format(name=name, bundle=bundle) if link != "again" else f"again-{name}")
    target = unpack(bundle, tmp_path / "target")
    assert sorted(os.listdir(target)) == ["config.json", "rootfs"]
    assert not (target / "rootfs").is_symlink()
    assert (target / "rootfs" / "d" / "f").read_bytes() == b"mine"
    assert rootfs_of(bundle) == bundle / "inner" / "rootfs"


@pytest.mark.parametrize("what", ["f", "d", "rootfs", "config.json"])
def test_a_file_that_a_link_replaces_between_look_and_open_is_not_followed(
    bundle: Path, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (host / "etc" / "f").write_text("of the host")
    path = {"f": bundle / "rootfs" / "d" / "f", "d": bundle / "rootfs" / "d"}.get(what, bundle / what)

    def change() -> None:
        if not path.is_symlink():
            path.rename(tmp_path / "moved")
            path.symlink_to(host / "etc" if what in ("d", "rootfs") else host / "etc" / "keep")

    def swapping(path: object, *more: int, **named: int) -> int:
        if path == what:
            change()
        return opened(path, *more, **named)

    opened: Callable[..., int] = os.open
    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(InvalidArgument, match=r"was changed while it was copied|is a link that leads out"):
        unpack(bundle, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_directory_that_is_used_in_place_may_not_lead_out_either(
    bundle: Path, tmp_path: Path, new_executor: Callable[[], Executor]
) -> None:
    (bundle / "rootfs").rename(tmp_path / "elsewhere")
    (bundle / "rootfs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidArgument, match="'rootfs' is a link that leads out of the bundle"):
        ManagedPlugin(new_executor(), bundle)
