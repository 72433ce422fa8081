"""What a plugin's user may set, as ``docker plugin set`` has it. Only functions."""

from __future__ import annotations

import json

import pytest

from pluginexec import InvalidArgument
from pluginexec.managed.config import load_config
from pluginexec.managed.settings import Settings, changed, default_settings
from tests.unit.managed.test_config import LEAST, WHOLE

CONFIG = load_config(
    {
        **WHOLE,
        "env": [
            {"name": "DEBUG", "settable": ["value"], "value": "0"},
            {"name": "TOKEN", "settable": ["value"]},
            {"name": "FIXED", "value": "1"},
        ],
        "mounts": [
            {"name": "state", "settable": ["source"], "source": "/a", "destination": "/s", "type": "bind"},
            {"name": "fixed", "source": "/b", "destination": "/t", "type": "bind"},
            {"source": "/c", "destination": "/u", "type": "bind"},
            {"name": "needed", "settable": ["source"], "destination": "/v", "type": "bind"},
        ],
    }
)
DEFAULTS = default_settings(CONFIG)


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert (
        Settings(
            env=["DEBUG=0", "FIXED=1"],
            args=["-v"],
            mounts={"state": "/a", "fixed": "/b"},
            devices={"d": "/dev/fuse"},
        )
        == DEFAULTS
    )


@pytest.mark.parametrize(
    ("pairs", "settings"),
    [
        (["DEBUG=1"], {"env": ["DEBUG=1", "FIXED=1"]}),
        (["DEBUG.value=1"], {"env": ["DEBUG=1", "FIXED=1"]}),
        (["DEBUG"], {"env": ["DEBUG=", "FIXED=1"]}),
        (["DEBUG=a=b.c"], {"env": ["DEBUG=a=b.c", "FIXED=1"]}),
        (["TOKEN=x", "TOKEN=y"], {"env": ["DEBUG=0", "FIXED=1", "TOKEN=y"]}),
        (["state.source=/z"], {"mounts": {"state": "/z", "fixed": "/b"}}),
        (["state=/z"], {"mounts": {"state": "/z", "fixed": "/b"}}),
        (["needed.source=/n"], {"mounts": {"state": "/a", "fixed": "/b", "needed": "/n"}}),
        (["d.path=/dev/null"], {"devices": {"d": "/dev/null"}}),
        (["args=-v --more"], {"args": ["-v", "--more"]}),
        (["args=a  b"], {"args": ["a", "", "b"]}),
    ],
)
def test_a_setting_is_changed(pairs: list[str], settings: dict[str, object]) -> None:
    assert changed(CONFIG, DEFAULTS, pairs).to_json() == {**DEFAULTS.to_json(), **settings}


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("FIXED=2", "'FIXED' is not settable"),
        ("fixed.source=/z", "'fixed.source' is not settable"),
        ("DEBUG.source=1", "'DEBUG.source' is not settable"),
        ("state.destination=/z", "'state.destination' is not settable"),
        ("nothing=1", "'nothing' is not in the plugin's configuration"),
        (".source=/z", "'.source' is not in the plugin's configuration"),
        ("=1", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_what_cannot_be_set_is_refused(pair: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        changed(CONFIG, DEFAULTS, [pair])


def test_an_unknown_name_comes_with_what_can_be_set() -> None:
    with pytest.raises(InvalidArgument) as raised:
        changed(CONFIG, DEFAULTS, ["debug=1"])
    assert raised.value.hint == "it can set DEBUG, TOKEN, state, needed, d, args"
    with pytest.raises(InvalidArgument) as raised:
        changed(load_config(LEAST), Settings(), ["debug=1"])
    assert raised.value.hint == "it has nothing that can be set"


def test_settings_survive_json() -> None:
    settings = changed(CONFIG, DEFAULTS, ["DEBUG=1", "needed=/n"])
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_one_string_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(InvalidArgument, match="must be a list of strings"):
        changed(CONFIG, DEFAULTS, "DEBUG=1")
