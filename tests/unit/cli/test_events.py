"""The options of ``pluginexec events``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginexec.cli.commands.events import parse_filters
from pluginexec.errors import InvalidArgument
from pluginexec.host.history import Event, now
from tests.unit.cli.conftest import Call


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param([], ["create a", "die a", "create b"], id="none"),
        pytest.param(["id=a"], ["create a", "die a"], id="id"),
        pytest.param(["id="], [], id="empty id"),
        pytest.param(["container=b", "id=c"], ["create b"], id="two of one key under two names"),
        pytest.param(["event=die", "event=create"], ["create a", "die a", "create b"], id="two of one key"),
        pytest.param(["event=create", "id=a"], ["create a"], id="two keys"),
        pytest.param(["label=color"], ["create a", "die a", "create b"], id="label"),
        pytest.param(["label=color=blue", "type=container"], ["create b"], id="value of a label"),
        pytest.param(["label=color="], [], id="empty value of a label"),
        pytest.param(["label=colour"], [], id="no such label"),
    ],
)
def test_filters_of_one_key_are_alternatives_and_of_different_keys_all_needed(
    filters: list[str], expected: list[str]
) -> None:
    happened = [
        Event(now(), action, id, {}, {"color": color})
        for action, id, color in (("create", "a", "red"), ("die", "a", "red"), ("create", "b", "blue"))
    ]
    is_wanted = parse_filters(filters)
    assert [f"{event.action} {event.id}" for event in happened if is_wanted(event)] == expected


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        pytest.param("mood=good", "one of id, container, event, label, type", id="unknown key"),
        pytest.param("event", "one of id, container, event, label, type", id="no value"),
        pytest.param("event=explode", "use one of create, start, die, oom", id="unknown event"),
        pytest.param("type=image", "use one of container", id="unknown type"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused_with_what_can(filter: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_filters([filter])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["-f", "mood=good"], "unknown filter 'mood=good'", id="filter"),
        pytest.param(["--since", "yesterday"], "not a time: 'yesterday'", id="not a time"),
        pytest.param(["--since", "2999-01-01"], "is in the future", id="the future"),
        pytest.param(["--format", "{{.Mood}}"], "unknown field: .Mood", id="unknown field"),
    ],
)
def test_what_cannot_be_meant_is_one_line(call: Call, tmp_path: Path, arguments: list[str], message: str) -> None:
    code, stdout, stderr = call("--root", tmp_path, "--address", "/none", "events", *arguments)
    assert (code, stdout) == (125, "")
    assert message in stderr
    assert stderr.count("\n") == 1
