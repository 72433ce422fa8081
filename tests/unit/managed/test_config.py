"""Docker's plugin configuration: what is accepted, what is refused, and with which message.

Real: files. No containers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pluginexec import InvalidArgument
from pluginexec.managed.config import Arguments, Device, Mount, Variable, capability_of, load_config
from tests.support.managed_plugins.bundles import PLUGINS, plugin_config

LEAST: dict[str, Any] = {
    "interface": {"types": ["docker.volumedriver/1.0"], "socket": "x.sock"},
    "entrypoint": ["/plugin"],
}
WHOLE: dict[str, Any] = {
    **LEAST,
    "description": "a plugin",
    "documentation": "https://example.com",
    "workdir": "/work",
    "user": {"uid": 1, "gid": 2},
    "network": {"type": "host"},
    "pidhost": True,
    "ipchost": True,
    "propagatedmount": "/mnt",
    "env": [{"name": "DEBUG", "description": "", "settable": ["value"], "value": "0"}, {"name": "TOKEN"}],
    "args": {"name": "args", "settable": ["value"], "value": ["-v"]},
    "mounts": [
        {"name": "s", "settable": ["source"], "destination": "/s", "type": "bind", "options": ["rbind"]},
        {"source": "tmpfs", "destination": "/t", "type": "tmpfs"},
    ],
    "linux": {
        "capabilities": ["CAP_SYS_ADMIN"],
        "allowAllDevices": True,
        "devices": [{"name": "d", "settable": ["path"], "path": "/dev/fuse"}],
    },
}


def test_every_field_is_taken() -> None:
    config = load_config(WHOLE)
    assert (config.types, config.socket, config.entrypoint) == (("docker.volumedriver/1.0",), "x.sock", ("/plugin",))
    assert (config.workdir, config.uid, config.gid, config.network) == ("/work", 1, 2, "host")
    assert (config.pid_host, config.ipc_host, config.allow_all_devices) == (True, True, True)
    assert config.propagated_mount == "/mnt"
    assert config.env == (Variable("DEBUG", ("value",), "0"), Variable("TOKEN", (), None))
    assert config.args == Arguments("args", ("value",), ("-v",))
    assert config.mounts == (
        Mount("s", ("source",), None, "/s", "bind", ("rbind",)),
        Mount("", (), "tmpfs", "/t", "tmpfs", ()),
    )
    assert config.capabilities == ("CAP_SYS_ADMIN",)
    assert config.devices == (Device("d", ("path",), "/dev/fuse"),)
    assert config.content == WHOLE


def test_what_is_left_out_or_null_has_dockers_defaults() -> None:
    nulls = {name: None for name in WHOLE if name not in LEAST}
    assert load_config(LEAST) == load_config({**nulls, **LEAST})
    config = load_config(LEAST)
    assert (config.workdir, config.uid, config.gid, config.network) == ("/", 0, 0, "")
    assert (config.mounts, config.env, config.devices, config.propagated_mount) == ((), (), (), "")


def test_names_are_taken_in_any_case_as_go_takes_them() -> None:
    content = {"Interface": {"Types": ["docker.authz/1.0"], "Socket": "x.sock"}, "Entrypoint": ["/p"], "WorkDir": "/w"}
    content["Linux"] = {"AllowAllDevices": True, "Capabilities": None, "Devices": None}
    config = load_config(content)
    assert (config.types, config.workdir, config.allow_all_devices) == (("docker.authz/1.0",), "/w", True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"entrypoint": []}, "entrypoint is empty"),
        ({"entrypoint": "/plugin"}, "entrypoint must be a list"),
        ({"entrypoint": ["/plugin", 1]}, r"entrypoint\[1\] must be a string"),
        ({"interface": {"types": [], "socket": ""}}, r"interface\.socket is ''"),
        ({"interface": {"types": [], "socket": "../x"}}, r"interface\.socket is '\.\./x'"),
        ({"interface": {"types": ["volumedriver"], "socket": "x"}}, r"interface\.types\[0\] is 'volumedriver'"),
        ({"interface": {"socket": "x", "protocolScheme": "grpc"}}, r"interface\.protocolscheme is not supported"),
        ({"interface": []}, "interface must be an object"),
        ({"workdir": "work"}, "workdir is 'work'; give an absolute path"),
        ({"user": {"uid": -1}}, r"user\.uid is -1"),
        ({"user": {"gid": True}}, r"user\.gid must be a number"),
        ({"network": "host"}, "network must be an object"),
        ({"pidhost": "yes"}, "pidhost must be a boolean"),
        ({"propagatedmount": "mnt"}, "propagatedmount is 'mnt'"),
        ({"env": [{"value": "1"}]}, r"env\[0\]\.name is ''"),
        ({"env": [{"name": "A=B"}]}, r"env\[0\]\.name is 'A=B'"),
        ({"env": [{"name": "A"}, {"name": "A"}]}, r"env\[1\]\.name is 'A', as that of env\[0\]"),
        ({"env": [{"name": "A", "settable": ["source"]}]}, r"env\[0\]\.settable\[0\] is 'source'; only 'value'"),
        ({"env": ["A=1"]}, r"env\[0\] must be an object"),
        ({"args": {"value": "-v"}}, r"args\.value must be a list"),
        ({"mounts": [{"destination": "/x"}]}, r"mounts\[0\]\.source is missing"),
        ({"mounts": [{"source": "/x"}]}, r"mounts\[0\]\.destination is missing"),
        ({"mounts": [{"source": "x", "destination": "/x", "type": "bind"}]}, r"mounts\[0\]\.source is 'x'"),
        ({"mounts": [{"source": "/x", "destination": "x"}]}, r"mounts\[0\]\.destination is 'x'"),
        ({"linux": {"capabilities": ["SYS_ADMIN"]}}, r"linux\.capabilities\[0\] is 'SYS_ADMIN'"),
        ({"linux": {"devices": [{"name": "d"}]}}, r"linux\.devices\[0\]\.path is missing"),
        ({"linux": {"devices": [{"path": "fuse"}]}}, r"linux\.devices\[0\]\.path is 'fuse'"),
        ({"WorkDir": "/", "workdir": "/"}, "workdir is there twice"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        load_config({**LEAST, **change})


def test_every_field_that_is_wrong_is_named_in_one_line() -> None:
    with pytest.raises(InvalidArgument) as raised:
        load_config({"workdir": 1, "user": {"uid": "root"}, "mounts": [{}], "linux": {"capabilities": ["x", "y"]}})
    said = str(raised.value)
    for field in (
        *("entrypoint", "interface.socket", "workdir", "user.uid", "mounts[0].source", "mounts[0].destination"),
        *("linux.capabilities[0]", "linux.capabilities[1]"),
    ):
        assert f"{field} " in said
    assert "\n" not in said


def test_a_field_that_is_not_known_is_ignored_and_said(caplog: pytest.LogCaptureFixture) -> None:
    load_config({**LEAST, "entrypont": [], "linux": {"capabilites": []}, "rootfs": {}, "DockerVersion": "1"})
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "plugin config: ignoring unknown field linux.'capabilites'",
        "plugin config: ignoring unknown field 'entrypont'",
    ]


@pytest.mark.parametrize("name", PLUGINS)
def test_a_file_and_its_directory_are_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(plugin_config(name)))
    assert load_config(tmp_path) == load_config(tmp_path / "config.json") == load_config(plugin_config(name))


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "not json"), ("[]", "must be a json object"), ("{", "not json at line 1"), ('{"a\\u0000": 1}', "NUL")],
)
def test_what_is_no_configuration_is_refused_with_the_name_of_the_file(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InvalidArgument, match=f"plugin config '{tmp_path}/config.json': .*{says}"):
        load_config(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"'{tmp_path}/config.json': no such file or directory"):
        load_config(tmp_path)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        load_config(tmp_path)
    with pytest.raises(InvalidArgument, match="must be a dict or a path, not 3"):
        load_config(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "name"),
    [("docker.VolumeDriver/1.0", "volumedriver"), ("docker.authz/1.0", "authz"), ("my.own.type", "type")],
)
def test_a_type_tells_what_the_plugin_must_answer_with(of: str, name: str) -> None:
    assert capability_of(of) == name
