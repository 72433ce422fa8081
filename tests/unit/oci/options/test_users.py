"""``--user``, looked up in a root file system. Real: its files and links, and the links that try to lead out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pluginexec.errors import InvalidArgument, PluginExecError
from pluginexec.oci.options.users import find_user, read_inside

PASSWD = """\
# comment
root:x:0:0:root:/root:/bin/sh
broken:x::
broken2:x:lots:5::/:
bob:x:1000:100:Bob:/home/bob:/bin/sh
bob:x:2000:200:the second:/:
7:x:77:77:a name of digits:/:
far:x:99999999999:5::/:
"""
GROUP = """\
root:x:0:
users:x:100:
wheel:x:10:alice,bob
audio:x:29:bob
broken:x:
"""


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    etc = tmp_path / "rootfs" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text(PASSWD)
    (etc / "group").write_text(GROUP)
    return etc.parent


@pytest.mark.parametrize(
    ("value", "uid", "gids"),
    [
        ("bob", 1000, [100, 10, 29]),
        ("1000", 1000, [100, 10, 29]),
        ("root", 0, [0]),
        ("0", 0, [0]),
        ("1234", 1234, [0]),
        ("7", 7, [0]),
        ("bob:wheel", 1000, [10]),
        ("bob:5", 1000, [5]),
        ("1234:5", 1234, [5]),
        ("1234:audio", 1234, [29]),
        ("2147483647:2147483647", 2147483647, [2147483647]),
    ],
)
def test_a_user_is_found_as_docker_would(rootfs: Path, value: str, uid: int, gids: list[int]) -> None:
    assert find_user(str(rootfs), value) == {"uid": uid, "gid": gids[0], "additionalGids": gids}


def test_numbers_work_without_any_file(tmp_path: Path) -> None:
    assert find_user(str(tmp_path), "5:6") == {"uid": 5, "gid": 6, "additionalGids": [6]}
    assert find_user(str(tmp_path), "5")["gid"] == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("alice", "no such user"),
        ("broken", "no such user"),
        ("broken2", "no such user"),
        ("far", "no such user"),
        ("bob:alice", "no such group"),
        ("", "give a name or a number"),
        (":5", "give a name or a number"),
        ("bob:", "give a name or a number"),
        ("2147483648", "from 0 to 2147483647"),
        ("0:9" + "9" * 5000, "from 0 to 2147483647"),
        ("-1", "no such user"),
        ("٣", "no such user"),
    ],
)
def test_a_bad_user_is_refused_in_one_line(rootfs: Path, value: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        find_user(str(rootfs), value)
    assert str(caught.value).startswith(f"--user {value[:100]!r}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("target", ["{}/outside", "../../outside", "/../../{}/outside"])
def test_no_link_leads_out_of_the_root_file_system(rootfs: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/passwd").write_text("bob:x:0:0::/:\n")
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to(target.format(tmp_path) + "/passwd")
    with pytest.raises(InvalidArgument, match="no such user"):
        find_user(str(rootfs), "bob")
    (rootfs / "etc/group").unlink()
    (rootfs / "etc").joinpath("passwd").unlink()
    (rootfs / "etc").rmdir()
    (rootfs / "etc").symlink_to(target.format(tmp_path))
    with pytest.raises(InvalidArgument, match="no such user"):
        find_user(str(rootfs), "bob")


def test_links_inside_the_root_file_system_are_followed(rootfs: Path) -> None:
    (rootfs / "usr/etc").mkdir(parents=True)
    (rootfs / "etc/passwd").rename(rootfs / "usr/etc/passwd")
    (rootfs / "lib").symlink_to("usr/etc")
    # As the kernel does it: ".." goes up from where a link leads, and the root is its own parent.
    (rootfs / "etc/passwd").symlink_to("/../lib/.././etc/passwd")
    assert find_user(str(rootfs), "bob")["uid"] == 1000


def test_a_circle_of_links_and_what_is_no_file_are_told(rootfs: Path) -> None:
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to("passwd")
    with pytest.raises(PluginExecError, match=r"--user: /etc/passwd in .* cannot be read: Too many levels"):
        find_user(str(rootfs), "bob")
    (rootfs / "etc/passwd").unlink()
    os.mkfifo(rootfs / "etc/passwd")  # to open it would wait for ever
    with pytest.raises(PluginExecError, match="not a regular file"):
        find_user(str(rootfs), "bob")


def test_nothing_is_left_open(rootfs: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert read_inside(str(rootfs), "etc/passwd") == PASSWD.encode()
    assert len(os.listdir("/proc/self/fd")) == before
