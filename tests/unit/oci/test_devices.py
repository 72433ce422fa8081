"""The devices of this machine as entries of a spec. Real: ``/dev``; what is gone again is the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.oci import devices


def test_a_device_that_is_gone_since_its_directory_was_listed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "files_below", lambda real: [Path("/dev/null"), Path("/dev/gone")])
    found, _ = devices.find_devices(["/dev"])
    assert [device["path"] for device in found] == ["/dev/null"]


def test_a_device_that_was_named_must_be_there() -> None:
    with pytest.raises(InvalidArgument, match="/dev/gone"):
        devices.find_devices(["/dev/gone"])
