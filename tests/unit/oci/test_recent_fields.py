"""Fields that an older ``ctr`` leaves out; the real one shows which in ``integration/oci/test_dropped_fields``."""

from __future__ import annotations

from typing import Any

import pytest

from pluginexec.oci.recent_fields import recent_fields


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, []),
        ({"process": {"args": ["x"], "scheduler": {}}, "linux": {"sysctl": {}}}, ["process.scheduler"]),
        ({"process": {"scheduler": None, "ioPriority": {"priority": 1}}}, ["process.ioPriority"]),
        (
            {"linux": {"intelRdt": {"schemata": ["x"]}, "netDevices": {}}},
            ["linux.netDevices", "linux.intelRdt.schemata"],
        ),
        ({"process": [], "linux": {"intelRdt": "x"}}, []),
    ],
)
def test_those_that_are_there_are_named(spec: dict[str, Any], fields: list[str]) -> None:
    assert recent_fields(spec) == fields
