"""The filters of ``pluginexec plugin ls``."""

from __future__ import annotations

import pytest

from pluginexec.cli.commands.plugin.ls import parse_filters
from pluginexec.errors import InvalidArgument


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        (["enabled=true"], True),
        (["enabled=False"], False),
        (["capability=volumedriver"], True),
        (["capability=docker.VolumeDriver/1.0"], True),
        (["capability=volume"], False),
        (["capability=authz", "capability=volumedriver"], True),
        (["capability=volumedriver", "enabled=false"], False),
    ],
)
def test_filters_of_one_key_are_alternatives_and_of_different_keys_all_must_pass(
    filters: list[str], passes: bool
) -> None:
    row = {"enabled": True, "types": ["docker.volumedriver/1.0", "docker.networkdriver/1.0"]}
    assert all(test(row) for test in parse_filters(filters)) is passes


@pytest.mark.parametrize(
    ("text", "said"), [("x=1", "use enabled=VALUE or capability=VALUE"), ("enabled=1", "use true or false")]
)
def test_a_filter_that_is_not_known_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse_filters([text])
