"""The version of each program that plugins need. Real: the programs of this machine."""

from __future__ import annotations

import re

import pytest

from pluginexec.containerd.programs import find_program


@pytest.mark.parametrize("name", ["ctr", "containerd", "runc", "containerd-shim-runc-v2"])
def test_the_version_of_a_program_of_this_machine_is_found(name: str) -> None:
    assert re.match(r"v?[0-9]", find_program(name).version)
