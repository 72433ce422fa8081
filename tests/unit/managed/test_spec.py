"""The OCI spec of a plugin. ``test_dockerd.py`` shows that it is moby's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pluginexec import InvalidArgument
from pluginexec.managed.config import load_config
from pluginexec.managed.settings import Settings, changed, default_settings
from pluginexec.managed.spec import init_spec
from tests.unit.managed.test_config import LEAST

HOST = {"rootfs": Path("/r"), "exec_dir": Path("/e"), "propagated_mount": Path("/p")}


def spec_of(*pairs: str, **changes: Any) -> dict[str, Any]:
    """Return the spec of the least plugin, with changes to its configuration, and settings."""
    config = load_config({**LEAST, **changes})
    return init_spec(config, changed(config, default_settings(config), pairs), id="x", **HOST)


def mount_at(spec: dict[str, Any], destination: str) -> dict[str, Any] | None:
    """Return the only mount at a destination."""
    found = [mount for mount in spec["mounts"] if mount["destination"] == destination]
    assert len(found) < 2
    return found[0] if found else None


def test_the_socket_directory_is_bound_after_the_defaults() -> None:
    spec = spec_of()
    assert spec["mounts"][-1] == {
        "destination": "/run/docker/plugins",
        "type": "bind",
        "source": "/e",
        "options": ["rbind", "rshared"],
    }
    assert [mount["destination"] for mount in spec["mounts"][:-1]] == [
        *("/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"),
    ]
    assert (spec["root"], "rootfsPropagation" in spec["linux"]) == ({"path": "/r"}, False)


def test_a_propagated_mount_comes_first_of_the_plugins_own() -> None:
    mounts = [{"source": "/a", "destination": "/b", "type": "bind", "options": ["rbind", "ro"]}]
    spec = spec_of(propagatedmount="/mnt", mounts=mounts)
    assert [mount["destination"] for mount in spec["mounts"][-3:]] == ["/mnt", "/b", "/run/docker/plugins"]
    assert mount_at(spec, "/mnt") == {
        "destination": "/mnt",
        "type": "bind",
        "source": "/p",
        "options": ["rbind", "rw", "rshared"],
    }
    assert mount_at(spec, "/b") == {**mounts[0]}
    assert spec["linux"]["rootfsPropagation"] == "rshared"


@pytest.mark.parametrize(("kind", "shares"), [("", False), ("none", False), ("bridge", False), ("host", True)])
def test_any_network_binds_the_files_of_names_and_that_of_the_host_is_shared(kind: str, shares: bool) -> None:
    spec = spec_of(network={"type": kind})
    for path in ("/etc/hosts", "/etc/resolv.conf"):
        bound = {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
        assert mount_at(spec, path) == (bound if kind else None)
    assert ({"type": "network"} not in spec["linux"]["namespaces"]) is shares


@pytest.mark.parametrize(("field", "kind"), [("pidhost", "pid"), ("ipchost", "ipc")])
def test_a_namespace_of_the_host_is_shared(field: str, kind: str) -> None:
    kinds = {"mount", "network", "uts", "pid", "ipc"}
    assert {each["type"] for each in spec_of()["linux"]["namespaces"]} == kinds
    assert {each["type"] for each in spec_of(**{field: True})["linux"]["namespaces"]} == kinds - {kind}


def test_capabilities_are_added_to_four_sets_and_never_twice() -> None:
    sets = spec_of(linux={"capabilities": ["CAP_SYS_ADMIN", "CAP_CHOWN"]})["process"]["capabilities"]
    assert sets["inheritable"] == ["CAP_SYS_ADMIN", "CAP_CHOWN"]
    assert sets["bounding"] == sets["effective"] == sets["permitted"]
    assert len(set(sets["bounding"])) == len(sets["bounding"]) == 15
    assert "ambient" not in sets


def test_the_command_has_the_settings_and_the_user() -> None:
    process = spec_of(
        *("A=2", "args=-x -y"),
        env=[{"name": "A", "settable": ["value"], "value": "1"}, {"name": "UNSET"}],
        args={"name": "args", "settable": ["value"], "value": ["-v"]},
        workdir="/w",
        user={"uid": 7, "gid": 8},
    )["process"]
    assert process["args"] == ["/plugin", "-x", "-y"]
    assert process["env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=2"]
    assert (process["cwd"], process["user"]) == ("/w", {"uid": 7, "gid": 8})
    assert not process.get("terminal")


def test_a_mount_of_its_own_under_dev_takes_the_place_of_the_default() -> None:
    own = {"source": "/big", "destination": "/dev/shm", "type": "bind", "options": ["rbind"]}
    foo = {"source": "/foo", "destination": "/dev/foo", "type": "bind", "options": ["rbind"]}
    spec = spec_of(mounts=[own, foo])
    assert mount_at(spec, "/dev/shm") == own
    assert mount_at(spec, "/dev/foo") == foo
    assert mount_at(spec, "/dev/pts") is not None


def test_a_device_that_was_not_set_is_named() -> None:
    with pytest.raises(InvalidArgument, match="device 'd' has no path") as raised:
        spec_of(linux={"devices": [{"name": "d", "settable": ["path"]}]})
    assert raised.value.hint == "set d.path to a device of the host"


@pytest.mark.parametrize("source", ["relative", ""])
def test_a_mount_that_was_set_to_what_is_no_path_is_named(source: str) -> None:
    mount = {"name": "s", "settable": ["source"], "destination": "/s", "type": "bind"}
    with pytest.raises(InvalidArgument, match="mount 's' has "):
        spec_of(f"s.source={source}", mounts=[mount])


def test_all_devices_are_allowed_where_it_says_so_and_else_only_its_own() -> None:
    devices = [{"path": "/dev/full"}]
    own = {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rwm"}
    some = spec_of(linux={"devices": devices})["linux"]
    assert some["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert some["resources"]["devices"][-1] == own
    assert len(some["resources"]["devices"]) == 9
    every = spec_of(linux={"devices": devices, "allowAllDevices": True})["linux"]
    assert every["resources"]["devices"] == [{"allow": True, "access": "rwm"}, own]
    assert [device["path"] for device in every["devices"]] == ["/dev/full"]


def test_a_spec_needs_an_id_that_containerd_takes() -> None:
    config = load_config(LEAST)
    with pytest.raises(InvalidArgument, match="is not allowed"):
        init_spec(config, Settings(), id="../x", **HOST)
