"""Profiles from files: docker's conditions are held against the machine and the plugin's capabilities, as docker does.

Real: the files. What ``uname`` says is made up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.oci.options import seccomp
from pluginexec.oci.options.seccomp import load_profile

Profile = Callable[..., str]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """Write a profile; the machine is an x86_64 with Linux 5.10."""
    uname = SimpleNamespace(machine="x86_64", release="5.10.0-8-amd64")
    monkeypatch.setattr(seccomp, "os", SimpleNamespace(uname=lambda: uname, path=os.path))

    def write(*rules: Any, **fields: Any) -> str:
        file = tmp_path / "profile.json"
        file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules, **fields}))
        return str(file)

    return write


def test_a_profile_of_the_runtime_spec_passes_as_it_is(profile: Profile) -> None:
    rule = {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
    file = profile(rule, architectures=["SCMP_ARCH_X86_64"], flags=["SECCOMP_FILTER_FLAG_LOG"], defaultErrnoRet=1)
    assert load_profile(file, ()) == json.loads(Path(file).read_text())


@pytest.mark.parametrize(
    ("conditions", "applies"),
    [
        ({}, True),
        ({"includes": {}, "excludes": {}}, True),
        ({"includes": {"caps": ["CAP_A"]}}, True),
        ({"includes": {"caps": ["CAP_A", "CAP_C"]}}, False),
        ({"excludes": {"caps": ["CAP_C", "CAP_A"]}}, False),
        ({"excludes": {"caps": ["CAP_C"]}}, True),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"excludes": {"arches": ["s390x"]}}, True),
        ({"includes": {"minKernel": "5.10"}}, True),
        ({"includes": {"minKernel": "5.11"}}, False),
        ({"excludes": {"minKernel": "4.8"}}, False),
        ({"excludes": {"minKernel": "6.0"}}, True),
        ({"includes": {"caps": ["CAP_A"], "arches": ["arm64"]}}, False),
    ],
)
def test_a_rule_with_conditions_is_there_where_they_hold(profile: Profile, conditions: Any, applies: bool) -> None:
    file = profile({"names": ["x"], "action": "SCMP_ACT_ALLOW", "comment": "why", **conditions})
    rules = load_profile(file, ["CAP_A", "CAP_B"])["syscalls"]
    assert rules == ([{"names": ["x"], "action": "SCMP_ACT_ALLOW"}] if applies else [])


def test_the_map_of_architectures_gives_this_machines(profile: Profile) -> None:
    table = [
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    ]
    loaded = load_profile(profile(archMap=table), ())
    assert loaded["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert "archMap" not in loaded


def test_one_name_is_dockers_oldest_form(profile: Profile) -> None:
    rules = load_profile(profile({"name": "x", "action": "SCMP_ACT_ALLOW"}), ())["syscalls"]
    assert rules == [{"names": ["x"], "action": "SCMP_ACT_ALLOW"}]


@pytest.mark.parametrize(
    ("rules", "fields", "says"),
    [
        ([], {"defaultAction": None}, "defaultAction"),
        (["x"], {}, "syscalls must be a list of objects"),
        ([{"includes": ["CAP_A"]}], {}, "includes must be an object"),
        ([{"includes": {"caps": "CAP_A"}}], {}, "caps must be a list of strings"),
        ([{"includes": {"minKernel": "new"}}], {}, "minKernel is not a version"),
        ([], {"archMap": {}, "syscalls": {}}, "syscalls"),
        ([], {"archMap": [1]}, "archMap must be a list of objects"),
    ],
)
def test_what_is_no_profile_is_refused(profile: Profile, rules: Any, fields: Any, says: str) -> None:
    content = {**fields}
    if content.get("syscalls") == {}:
        content["syscalls"] = {"a": 1}
    with pytest.raises(InvalidArgument) as caught:
        load_profile(profile(*rules, **content), ())
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidArgument, match="seccomp profile '/no/such': no such file or directory; give a file"):
        load_profile("/no/such", ())
