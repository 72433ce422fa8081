"""Flags applied to a spec. Real: the file system. ``test_flags_in_containers.py`` shows what they do."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.oci.default_spec import default_spec
from pluginexec.oci.options.container import ContainerFlags

Spec = dict[str, Any]
MIB = 1 << 20


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    (tmp_path / "rootfs").mkdir()
    return default_spec(tmp_path / "rootfs", ["true"], id="x")


def applied(spec: Spec, **flags: Any) -> Spec:
    return ContainerFlags(**flags).apply(spec, {"HERE": "1"})


def refused(spec: Spec, said: str, **flags: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        applied(spec, **flags)
    assert said in str(caught.value)
    assert len(caught.value.message.splitlines()) == 1


def kinds(spec: Spec) -> list[str]:
    return [namespace["type"] for namespace in spec["linux"]["namespaces"]]


def test_no_flag_changes_nothing_and_the_spec_that_was_given_stays_as_it_is(spec: Spec) -> None:
    before = copy.deepcopy(spec)
    assert applied(spec) == before
    changed = applied(
        spec, env=("A=1",), volume=("/:/a",), cap_drop=("ALL",), memory="64m", network="host", hostname="h"
    )
    assert changed != before
    assert spec == before


def test_what_a_bundle_leaves_out_is_made(spec: Spec) -> None:
    bare = {key: spec[key] for key in ("ociVersion", "root")}
    bare |= {"process": {"args": ["true"], "cwd": "/"}, "linux": {"namespaces": [{"type": "mount"}], "resources": None}}
    flags = {"env": ("A=1",), "volume": ("/:/a",), "cap_add": ("KILL",), "memory": "64m", "user": "1:2", "cpus": "1"}
    changed = applied(bare, **flags, hostname="h", network="none", pids_limit="5")
    assert changed["process"]["env"] == ["A=1"]
    assert changed["process"]["user"]["uid"] == 1
    assert changed["process"]["capabilities"]["bounding"] == ["CAP_KILL"]
    assert changed["linux"]["resources"]["memory"]["limit"] == 64 * MIB
    assert kinds(changed) == ["mount", "uts", "network"]


def test_env_workdir_user_and_read_only(spec: Spec) -> None:
    changed = applied(spec, env=("HERE", "B=2"), workdir="/tmp", user="5:6", read_only=True)
    assert changed["process"]["env"][1:] == ["HERE=1", "B=2"]
    assert changed["process"]["cwd"] == "/tmp"
    assert changed["process"]["user"] == {"uid": 5, "gid": 6, "additionalGids": [6]}
    assert changed["root"]["readonly"] is True
    refused(spec, "--workdir 'tmp': give an absolute path", workdir="tmp")
    refused(spec, "--user 'nobody': no such user", user="nobody")


def test_what_no_json_can_hold_is_refused_and_no_directory_made(spec: Spec, tmp_path: Path) -> None:
    refused(spec, "lone surrogate", env=("A=\udcff",), volume=(f"{tmp_path}/new:/a",))
    assert not (tmp_path / "new").exists()
    applied(spec, volume=(f"{tmp_path}/new:/a",))
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("6291456", 6 * MIB),
        ("64m", 64 * MIB),
        ("64M", 64 * MIB),
        ("64mb", 64 * MIB),
        ("64 MiB", 64 * MIB),
        ("6291456b", 6 * MIB),
        ("7000k", 7000 << 10),
        ("1.5g", 1536 * MIB),
        ("0.5t", 1 << 39),
        ("9223372036854775807", (1 << 63) - 1),
    ],
)
def test_a_size_is_read_as_docker_would(spec: Spec, value: str, size: int) -> None:
    assert applied(spec, memory=value)["linux"]["resources"]["memory"]["limit"] == size


@pytest.mark.parametrize(
    "value", ["", "m", "64x", "-1", "1e9", "64 m b", "64mib2", "9223372036854775808", "9" * 30, "0x10"]
)
def test_a_bad_size_is_refused(spec: Spec, value: str) -> None:
    refused(spec, f"--memory {value!r}: give a number of bytes", memory=value)


def test_less_memory_than_any_container_needs_is_refused(spec: Spec) -> None:
    refused(spec, "--memory '5m': give at least 6m", memory="5m")


@pytest.mark.parametrize(("limited", "swap"), [(True, 128 * MIB), (False, None)])
def test_swap_is_limited_as_docker_does_where_that_is_possible(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, limited: bool, swap: int | None
) -> None:
    monkeypatch.setattr("pluginexec.oci.options.limits._can_limit_swap", lambda: limited)
    spec["linux"]["resources"]["memory"] = {"limit": MIB, "swap": MIB, "reservation": MIB}
    memory = applied(spec, memory="64m")["linux"]["resources"]["memory"]
    assert memory == {"limit": 64 * MIB, "reservation": MIB} | ({"swap": swap} if swap else {})


@pytest.mark.parametrize(("value", "quota"), [("1.5", 150_000), ("2", 200_000), ("0.01", 1000), (".5", 50_000)])
def test_cpus_are_a_share_of_each_period(spec: Spec, value: str, quota: int) -> None:
    assert applied(spec, cpus=value)["linux"]["resources"]["cpu"] == {"quota": quota, "period": 100_000}


@pytest.mark.parametrize("value", ["", "0", "0.001", "-1", "1,5", "nan", "inf", "1e3", "1/2", "many", "٣"])
def test_bad_cpus_are_refused(spec: Spec, value: str) -> None:
    refused(spec, f"--cpus {value!r}: give a number of CPUs of at least 0.01", cpus=value)


def test_pids_are_limited(spec: Spec) -> None:
    for value in ("1", "100", "-1"):
        assert applied(spec, pids_limit=value)["linux"]["resources"]["pids"] == {"limit": int(value)}
    for value in ("", "0", "-2", "1.5", "9" * 20, "some"):
        refused(spec, f"--pids-limit {value!r}: give a number from 1 on", pids_limit=value)


def capabilities(spec: Spec, *added: str, drop: tuple[str, ...] = ()) -> set[str]:
    sets = applied(spec, cap_add=added, cap_drop=drop)["process"]["capabilities"]
    assert sets["bounding"] == sets["effective"] == sets["permitted"]
    assert len(set(sets["bounding"])) == len(sets["bounding"])
    return set(sets["bounding"])


def test_capabilities_are_added_and_dropped_by_any_form_of_their_name(spec: Spec) -> None:
    before = capabilities(spec)
    assert capabilities(spec, "NET_ADMIN", "cap_sys_admin", "CHOWN") == before | {"CAP_NET_ADMIN", "CAP_SYS_ADMIN"}
    assert capabilities(spec, drop=("net_raw", "CAP_MKNOD")) == before - {"CAP_NET_RAW", "CAP_MKNOD"}


def test_all_capabilities_are_those_of_this_machine(spec: Spec) -> None:
    everything = capabilities(spec, "ALL")
    assert everything > capabilities(spec)
    assert capabilities(spec, "all", drop=("CHOWN",)) == everything - {"CAP_CHOWN"}
    assert capabilities(spec, drop=("ALL",)) == set()
    assert capabilities(spec, "KILL", drop=("CAP_ALL",)) == {"CAP_KILL"}


def test_what_is_added_and_dropped_by_name_is_added(spec: Spec) -> None:
    assert "CAP_CHOWN" in capabilities(spec, "CHOWN", drop=("CHOWN",))


def test_what_is_dropped_is_not_inherited(spec: Spec) -> None:
    spec["process"]["capabilities"] |= {"inheritable": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"]}
    sets = applied(spec, cap_drop=("KILL",))["process"]["capabilities"]
    assert (sets["inheritable"], sets["ambient"]) == (["CAP_CHOWN"], [])


def test_an_unknown_capability_is_refused(spec: Spec) -> None:
    refused(spec, "--cap-add 'FLY': give the name of a capability", cap_add=("FLY",))
    refused(spec, "--cap-drop '': give the name of a capability", cap_drop=("",))


def test_a_host_name_comes_with_a_namespace_of_its_own(spec: Spec) -> None:
    assert applied(spec, hostname="web-1.example")["hostname"] == "web-1.example"
    assert kinds(applied(spec, hostname="h")).count("uts") == 1
    spec["linux"]["namespaces"] = [{"type": "mount"}]
    assert kinds(applied(spec, hostname="h")) == ["mount", "uts"]
    for value in ("", "-a", "a b", "a\n", "ä", "a" * 65):
        refused(spec, "--hostname", hostname=value)


def test_the_hosts_network_comes_with_what_finds_names_there(spec: Spec) -> None:
    changed = applied(spec, network="host")
    assert "network" not in kinds(changed)
    added = [mount for mount in changed["mounts"] if mount not in spec["mounts"]]
    files = [file for file in ("/etc/hosts", "/etc/resolv.conf") if os.path.exists(file)]
    assert [mount["destination"] for mount in added] == files
    assert all("ro" in mount["options"] and mount["source"] == mount["destination"] for mount in added)


def test_a_mount_of_ones_own_wins_over_the_networks(spec: Spec, tmp_path: Path) -> None:
    changed = applied(spec, network="host", volume=(f"{tmp_path}:/etc/hosts",))
    assert [mount["source"] for mount in changed["mounts"] if mount["destination"] == "/etc/hosts"] == [str(tmp_path)]
    spec["mounts"].append({"destination": "/etc/hosts", "type": "bind", "source": "/its/own", "options": ["bind"]})
    changed = applied(spec, network="host")
    assert [mount["source"] for mount in changed["mounts"] if mount["destination"] == "/etc/hosts"] == ["/its/own"]


def test_no_network_is_one_of_its_own(spec: Spec) -> None:
    assert applied(spec, network="none") == spec | {"linux": {**spec["linux"]}}
    spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "network", "path": "/proc/1/ns/net"}]
    assert applied(spec, network="none")["linux"]["namespaces"] == [{"type": "mount"}, {"type": "network"}]
    for value in ("", "bridge", "container:x"):
        refused(spec, f"--network {value!r}: give host", network=value)


def test_labels_are_pairs() -> None:
    assert ContainerFlags(label=("a=1", "b", "a=2", "c=x=y")).labels == {"a": "2", "b": "", "c": "x=y"}
    with pytest.raises(InvalidArgument, match="--label '=x': give KEY=VALUE"):
        _ = ContainerFlags(label=("=x",)).labels
