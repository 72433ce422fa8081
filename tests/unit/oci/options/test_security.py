"""``--security-opt`` and ``--privileged``. Real: the devices of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.oci import devices
from pluginexec.oci.default_spec import default_spec
from pluginexec.oci.options.container import ContainerFlags
from pluginexec.oci.options.security import Security, parse_security

FILTER = {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    return default_spec(tmp_path, ["true"], id="x", seccomp=FILTER)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), Security()),
        (("seccomp=unconfined",), Security(seccomp="unconfined")),
        (("seccomp:unconfined",), Security(seccomp="unconfined")),
        (("seccomp=/a=b:c",), Security(seccomp="/a=b:c")),
        (("seccomp=/a", "seccomp=/b"), Security(seccomp="/b")),
        (("no-new-privileges",), Security(no_new_privileges=True)),
        (("no-new-privileges:true",), Security(no_new_privileges=True)),
        (("no-new-privileges", "no-new-privileges=false"), Security(no_new_privileges=False)),
    ],
)
def test_the_options_are_dockers(values: tuple[str, ...], expected: Security) -> None:
    assert parse_security(values) == expected


@pytest.mark.parametrize("value", ["", "seccomp", "seccomp=", "no-new-privileges=yes", "label=disable", "=", "x\n=y"])
def test_another_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match=r"--security-opt .*: give seccomp=unconfined, seccomp=FILE or"):
        parse_security((value,))


def test_nothing_is_changed_that_was_not_asked_for(spec: dict[str, Any]) -> None:
    assert default_spec(spec["root"]["path"], ["true"], id="x") == {
        **spec,
        "linux": {key: value for key, value in spec["linux"].items() if key != "seccomp"},
    }
    assert ContainerFlags().apply(spec) == spec
    assert not ContainerFlags().chooses_seccomp


def test_a_profile_is_removed_and_replaced(spec: dict[str, Any], tmp_path: Path) -> None:
    flags = ContainerFlags(security_opt=("seccomp=unconfined", "no-new-privileges=false"))
    changed = flags.apply(spec)
    assert "seccomp" not in changed["linux"]
    assert changed["process"]["noNewPrivileges"] is False
    assert flags.chooses_seccomp
    file = tmp_path / "profile.json"
    rule = {"names": ["x"], "action": "SCMP_ACT_LOG"}
    file.write_text(json.dumps({**FILTER, "syscalls": [{**rule, "includes": {"caps": ["CAP_NET_ADMIN"]}}]}))
    flags = ContainerFlags(security_opt=(f"seccomp={file}",), cap_add=("NET_ADMIN",))
    assert flags.apply(spec)["linux"]["seccomp"]["syscalls"] == [rule], "of the capabilities that were added"


def test_a_privileged_one_has_everything_but_what_is_dropped(spec: dict[str, Any]) -> None:
    flags = ContainerFlags(privileged=True, cap_drop=("NET_RAW",))
    changed = flags.apply(spec)
    linux = changed["linux"]
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & linux.keys()
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "/dev/null" in [device["path"] for device in linux["devices"]]
    assert not [device for device in linux["devices"] if device["path"].startswith(("/dev/pts/", "/dev/shm/"))]
    assert "CAP_SYS_ADMIN" in changed["process"]["capabilities"]["effective"]
    assert "CAP_NET_RAW" not in changed["process"]["capabilities"]["bounding"]
    (sysfs,) = (mount for mount in changed["mounts"] if mount["type"] == "sysfs")
    assert "ro" not in sysfs["options"]
    assert flags.chooses_seccomp


def test_a_privileged_one_takes_a_profile_that_is_named(spec: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "p").write_text(json.dumps(FILTER))
    changed = ContainerFlags(privileged=True, security_opt=(f"seccomp={tmp_path / 'p'}",)).apply(spec)
    assert changed["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ALLOW"


def test_a_device_that_goes_while_they_are_listed_is_left_out(
    spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files_below(directory: str) -> list[Path]:
        return [Path(directory, "null"), Path(directory, "gone")]

    monkeypatch.setattr(devices, "files_below", files_below)
    changed = ContainerFlags(privileged=True).apply(spec)
    assert [device["path"] for device in changed["linux"]["devices"]] == ["/dev/null"]
