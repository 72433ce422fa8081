"""Mounts that flags add to a spec. Real: the file system; what the mounts do is shown in containers elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument, PluginExecError
from pluginexec.oci.options.mounts import add_mounts, make_sources, parse_mount, parse_volume


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("/a:/b", ["rbind", "rprivate", "rw"]),
        ("/a:/b:ro", ["rbind", "rprivate", "ro"]),
        ("/a:/b:rw,z", ["rbind", "rprivate", "rw"]),
        ("/a:/b:Z,ro,rslave", ["rbind", "rslave", "ro"]),
    ],
)
def test_a_volume_is_a_bind_with_dockers_options(value: str, options: list[str]) -> None:
    assert parse_volume(value) == {"destination": "/b", "type": "bind", "source": "/a", "options": options}


def test_a_relative_source_counts_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for source, expected in (("./a", tmp_path / "a"), (".", tmp_path), ("../a", tmp_path.parent / "a")):
        assert parse_volume(f"{source}:/b")["source"] == str(expected)
    assert parse_mount("type=bind,src=.,dst=/b")["source"] == str(tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("/data", "no anonymous volumes"),
        ("name:/data", "no named volumes"),
        ("/a:b", "absolute path in the container"),
        ("/a:/", "and not /"),
        ("/a:/b/../..", "and not /"),
        (":/b", "give SRC:DST"),
        ("/a:", "give SRC:DST"),
        ("/a:/b:rx", "the options are ro or rw"),
        ("/a:/b:ro:z", "the options are ro or rw"),
        ("/a:/b:ro,rw", "the options are ro or rw"),
        ("/a:/b:shared,slave", "the options are ro or rw"),
    ],
)
def test_a_bad_volume_is_refused_in_one_line(value: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_volume(value)
    assert str(caught.value).startswith(f"--volume {value!r}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("type=bind,source=/,target=/b", ["bind", "/", "rbind", "rprivate", "rw"]),
        ("type=bind,src=/,dst=/b,readonly", ["bind", "/", "rbind", "rprivate", "ro"]),
        ("type=bind,src=/,destination=/b/,ro=true", ["bind", "/", "rbind", "rprivate", "ro"]),
        ("type=bind,src=/,target=/b,readonly=0", ["bind", "/", "rbind", "rprivate", "rw"]),
        ("TYPE=bind,src=/,target=/b,bind-propagation=shared", ["bind", "/", "rbind", "shared", "rw"]),
        ("type=tmpfs,target=/b", ["tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "rw"]),
        (
            "type=tmpfs,target=/b,tmpfs-size=64m,tmpfs-mode=1770,ro",
            ["tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "ro", "size=67108864", "mode=1770"],
        ),
    ],
)
def test_a_mount_is_read_with_dockers_keys_and_their_other_names(value: str, expected: list[str]) -> None:
    mount = parse_mount(value)
    assert [mount["type"], mount["source"], *mount["options"]] == expected
    assert mount["destination"] == "/b"


def test_a_path_with_a_comma_stands_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert parse_mount(f'type=bind,"source={tmp_path}/a,b",target=/b')["source"] == f"{tmp_path}/a,b"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "give type=bind or type=tmpfs"),
        ("source=/,target=/b", "give type=bind or type=tmpfs"),
        ("type=volume,target=/b", "give type=bind or type=tmpfs"),
        ("type=bind,source=/,target=/b,colour=red", "'colour' is no key of type=bind; those are type, target"),
        ("type=bind,source=/,target=/b,tmpfs-size=1", "'tmpfs-size' is no key of type=bind"),
        ("type=tmpfs,source=/,target=/b", "'source' is no key of type=tmpfs"),
        ("type=bind,source=/no/such,target=/b", "the source '/no/such' is not there"),
        ("type=bind,target=/b", "the source must be a path"),
        ("type=bind,source=/", "the target must be an absolute path"),
        ("type=bind,source=/,target=/", "and not /"),
        ("type=bind,source=/,target=/b,readonly=maybe", "readonly must be true or false"),
        ("type=bind,source=/,target=/b,bind-propagation=far", "bind-propagation must be one of rprivate"),
        ("type=tmpfs,target=/b,tmpfs-mode=9", "tmpfs-mode must be octal"),
        ("type=bind,source", "give KEY=VALUE pairs"),
        ('type=bind,"source=/', "give KEY=VALUE pairs"),
    ],
)
def test_a_bad_mount_is_refused_in_one_line(value: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_mount(value)
    assert str(caught.value).startswith(f"--mount {value!r}: ")
    assert said in str(caught.value)


def test_a_bad_size_of_a_tmpfs_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="--mount tmpfs-size 'much': give a number of bytes"):
        parse_mount("type=tmpfs,target=/b,tmpfs-size=much")


def destinations(spec: dict[str, Any]) -> list[str]:
    return [f"{mount['source']}:{mount['destination']}" for mount in spec["mounts"]]


def test_a_mount_takes_the_place_of_the_one_that_was_there() -> None:
    spec = {"mounts": [{"destination": place, "source": "old"} for place in ("/proc", "/data/", "/data/x", "/data")]}
    assert add_mounts(spec, ["/new:/data"], []) == ["/new"]
    assert destinations(spec) == ["old:/proc", "/new:/data", "old:/data/x"]


def test_what_is_mounted_inside_a_mount_comes_after_it() -> None:
    spec: dict[str, Any] = {}
    add_mounts(spec, ["/a:/data/x/y", "/b:/data/x"], ["type=tmpfs,target=/data"])
    assert destinations(spec) == ["tmpfs:/data", "/b:/data/x", "/a:/data/x/y"]


def test_two_flags_for_one_place_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="--volume and --mount name '/b' more than once"):
        add_mounts({}, ["/a:/b"], ["type=tmpfs,target=/b/"])


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [(["/a:/b"], None), (["/a:/b:rslave"], "slave"), (["/a:/b:slave", "/a:/c:rshared"], "shared")],
)
def test_the_root_lets_through_what_a_bind_asks_for(volumes: list[str], expected: str | None) -> None:
    spec: dict[str, Any] = {}
    add_mounts(spec, volumes, [])
    assert spec.get("linux", {}).get("rootfsPropagation") == expected


def test_sources_that_are_not_there_are_made_and_others_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    make_sources([str(tmp_path / "a/b"), str(tmp_path / "file")])
    assert (tmp_path / "a/b").is_dir()
    assert (tmp_path / "file").is_file()
    os.symlink("nowhere", tmp_path / "link")
    with pytest.raises(PluginExecError, match=r"--volume: directory '.*link' cannot be made"):
        make_sources([str(tmp_path / "link")])
