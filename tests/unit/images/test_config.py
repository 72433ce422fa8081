"""Manifests and configurations of images, which come from anywhere: read with bounds, refused in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pluginexec import InvalidArgument, NotFound
from pluginexec.images.config import Platform, parse_config, parse_platform, read_config
from pluginexec.images.spec import image_arguments, image_spec, merged_environment

LAYER = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
HERE = Platform("linux", "amd64")


def config_of(config: object = None, **changes: object) -> dict[str, Any]:
    rootfs = {"type": "layers", "diff_ids": [LAYER]}
    return {"architecture": "amd64", "os": "linux", "config": config or {}, "rootfs": rootfs, **changes}


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


class Blobs:
    """Blobs by made-up digests."""

    def __init__(self, *blobs: object) -> None:
        self._blobs = {digest(number): json.dumps(blob).encode() for number, blob in enumerate(blobs)}

    def __call__(self, digest: str) -> bytes:
        return self._blobs[digest]


def test_the_chain_of_layers_is_named_by_ocis_rule() -> None:
    config = parse_config(config_of(rootfs={"diff_ids": [LAYER, OTHER, LAYER]}), "d", "x")
    # Computed once with containerd's own: identity.ChainID of these three.
    assert config.chain_id.startswith("sha256:")
    assert parse_config(config_of(), "d", "x").chain_id == LAYER


@pytest.mark.parametrize(
    "value",
    [
        config_of(rootfs=None),
        config_of(rootfs={"diff_ids": []}),
        config_of(rootfs={"diff_ids": ["x"]}),
        config_of(rootfs={"diff_ids": [1]}),
        config_of({"Env": "A=1"}),
        config_of({"Cmd": [1]}),
        config_of({"User": 0.5}),
        config_of(["x"]),
    ],
)
def test_a_configuration_of_wrong_types_is_refused_in_one_line(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="image x: ") as caught:
        parse_config(value, "d", "x")
    assert "\n" not in str(caught.value)


def test_a_configuration_without_anything_is_one() -> None:
    config = parse_config(config_of(), "d", "x")
    assert (config.env, config.entrypoint, config.cmd, config.user, config.working_dir) == ((), (), (), "", "")


def test_the_manifest_of_the_platform_is_found_through_indexes() -> None:
    here = {"os": "linux", "architecture": "amd64"}
    attestation = {"digest": digest(9), "platform": {"os": "unknown", "architecture": "unknown"}}
    there = {"digest": digest(9), "platform": {"os": "linux", "architecture": "arm64"}}
    blobs = Blobs(
        {"manifests": [attestation, there, {"digest": digest(1), "platform": here}]},
        {"manifests": [{"digest": digest(2)}]},
        {"config": {"digest": digest(3)}},
        config_of({"Cmd": ["x"]}),
    )
    assert read_config(digest(0), HERE, blobs, "x").cmd == ("x",)
    with pytest.raises(NotFound, match="nothing for linux/s390x") as caught:
        read_config(digest(0), Platform("linux", "s390x"), blobs, "x")
    assert caught.value.hint == "it has: linux/arm64, linux/amd64; choose one with --platform"


def test_an_index_that_holds_itself_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="nested deeper"):
        read_config(digest(0), HERE, Blobs({"manifests": [{"digest": digest(0)}]}), "x")


@pytest.mark.parametrize("found", [None, "sha256:../../x", 1, "md5:" + "1" * 32])
def test_what_is_no_digest_is_not_asked_for(found: object) -> None:
    with pytest.raises(InvalidArgument, match="is not a digest"):
        read_config(digest(0), HERE, Blobs({"config": {"digest": found}}), "x")


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("Linux/arm/v7", "linux/arm/v7"),
    ],
)
def test_a_platform_is_read_as_containerd_does(text: str, platform: str) -> None:
    assert str(parse_platform(text)) == platform


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "linux/", "linux/x y"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="os/arch"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("config", "args", "entrypoint", "command"),
    [
        ({"Cmd": ["a"]}, [], None, ["a"]),
        ({"Cmd": ["a"]}, ["b"], None, ["b"]),
        ({"Entrypoint": ["e"], "Cmd": ["a"]}, [], None, ["e", "a"]),
        ({"Entrypoint": ["e"], "Cmd": ["a"]}, ["b", "c"], None, ["e", "b", "c"]),
        ({"Entrypoint": ["e"], "Cmd": ["a"]}, [], ["f"], ["f"]),
        ({"Entrypoint": ["e"], "Cmd": ["a"]}, ["b"], [], ["b"]),
    ],
)
def test_the_command_is_what_docker_makes_of_entrypoint_and_cmd(
    config: dict[str, Any], args: list[str], entrypoint: list[str] | None, command: list[str]
) -> None:
    assert image_arguments(parse_config(config_of(config), "d", "x"), args, entrypoint, "x") == command


def test_without_any_command_the_error_is_dockers() -> None:
    with pytest.raises(InvalidArgument, match="names no command"):
        image_arguments(parse_config(config_of(), "d", "x"), [], None, "x")


def test_the_callers_environment_takes_the_place_of_what_has_its_name() -> None:
    config = parse_config(config_of({"Env": ["A=1", "B=2", "PATH=/x"]}), "d", "x")
    assert merged_environment(config, ["B=3", "C=4"]) == ["A=1", "B=3", "PATH=/x", "C=4"]


def test_the_default_path_is_there_only_if_the_image_has_none() -> None:
    with_path = parse_config(config_of({"Env": ["PATH=/x"]}), "d", "x")
    without = parse_config(config_of({"WorkingDir": "srv"}), "d", "x")
    env, cwd = (image_spec(with_path, "/r", ["a"], id="i", name="x")["process"][key] for key in ("env", "cwd"))
    assert (env, cwd) == (["PATH=/x"], "/")
    spec = image_spec(without, "/r", ["a"], id="i", name="x")
    assert spec["process"]["env"][0].startswith("PATH=/usr/local/sbin")
    assert (spec["process"]["cwd"], spec["root"]["path"]) == ("/srv", "/r")
