"""Specs as other tools write them, made to run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.oci.normalize import normalize
from pluginexec.oci.spec import load_spec


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    return {
        "ociVersion": "1.0.2",
        "process": {"args": ["sh"], "cwd": "/"},
        "root": {"path": str(tmp_path)},
        "linux": {"namespaces": [{"type": "mount"}]},
    }


def test_a_terminal_is_taken_as_false_and_said_once(
    spec: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec["process"]["terminal"] = True
    loaded = load_spec(spec)
    assert loaded["process"]["terminal"] is False
    load_spec(loaded)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "process.terminal is true" in record.getMessage()


@pytest.mark.parametrize(
    ("given", "taken"),
    [("proc", "/proc"), ("./a/../b/", "/b"), ("../../etc", "/etc"), ("/kept//as/", "/kept//as/")],
)
def test_a_relative_destination_counts_from_the_root(spec: dict[str, Any], given: str, taken: str) -> None:
    spec["mounts"] = [{"destination": given, "type": "tmpfs"}]
    assert load_spec(spec)["mounts"][0]["destination"] == taken


@pytest.mark.parametrize(("given", "taken"), [("1.0", "1.0.0"), ("1.2", "1.2.0"), ("1.0.2-dev", "1.0.2-dev")])
def test_a_version_of_two_numbers_gets_a_third(spec: dict[str, Any], given: str, taken: str) -> None:
    assert load_spec({**spec, "ociVersion": given})["ociVersion"] == taken


def test_fields_of_another_case_get_their_names(spec: dict[str, Any], tmp_path: Path) -> None:
    other = {
        "OCIVersion": "1.0.2",
        "Process": {"Args": ["sh"], "CWD": "/", "User": {"UID": 1}, "NoNewPrivileges": True},
        "ROOT": {"Path": str(tmp_path), "ReadOnly": True},
        "Mounts": [{"Destination": "/a", "Type": "tmpfs", "Options": ["ro"]}],
        "Linux": {"CgroupsPath": "/x", "Namespaces": [{"Type": "mount"}], "Resources": {"Memory": {"Limit": 1}}},
        "Annotations": {"Kept": "as it is"},
    }
    assert load_spec(other) == {
        **spec,
        "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 1}, "noNewPrivileges": True},
        "root": {"path": str(tmp_path), "readonly": True},
        "mounts": [{"destination": "/a", "type": "tmpfs", "options": ["ro"]}],
        "linux": {"cgroupsPath": "/x", "namespaces": [{"type": "mount"}], "resources": {"memory": {"limit": 1}}},
        "annotations": {"Kept": "as it is"},
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Process": {}}, "process is there as 'Process' too"),
        (
            {"mounts": [{"destination": "/a", "Destination": "/b"}]},
            "[0].destination is there as 'Destination' too",
        ),
        ({"linux": {"namespaces": [{"type": "mount", "TYPE": "pid"}]}}, "linux.namespaces[0].type is there as 'TYPE'"),
        ({"root": {"Path": "/", "PATH": "/"}}, "root.path is there as 'PATH' too"),
    ],
)
def test_a_field_in_two_cases_is_refused(spec: dict[str, Any], change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_spec({**spec, **change})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [
        {"ociVersion": 1.0},
        {"process": []},
        {"process": {"terminal": "true", "user": []}},
        {"mounts": {}},
        {"mounts": [None, {"destination": None}, {"destination": ""}]},
        {"linux": {"namespaces": "mount", "resources": {"memory": 5}}},
    ],
)
def test_a_value_of_a_wrong_type_is_left_to_the_checks(odd: dict[str, Any]) -> None:
    normalize(odd, "spec")


def test_a_command_replaces_that_of_the_bundle(spec: dict[str, Any]) -> None:
    assert load_spec(spec, args=["echo", "hi"])["process"]["args"] == ["echo", "hi"]
    assert load_spec({**spec, "process": {"cwd": "/"}}, args=["true"])["process"]["args"] == ["true"]
    with pytest.raises(InvalidArgument, match="process must be an object"):
        load_spec({**spec, "process": []}, args=["true"])
