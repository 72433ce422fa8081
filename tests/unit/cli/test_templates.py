"""``--format``: what it understands, what it refuses, and what comes of it.

Real: everything; nothing here needs containerd.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pluginexec import InvalidArgument
from pluginexec.cli.templates import parse_format

ROW: dict[str, Any] = {
    "id": "a1",
    "exit_code": 3,
    "oom_killed": False,
    "error": None,
    "started_at": datetime(2024, 2, 3, 4, 5, 6, 7000, timezone(timedelta(hours=2))),
    "labels": {"a": "b", "c": "d=e"},
    "state": {"status": "running", "OOMKilled": True},
    "args": ["sh", "-c", "a b"],
    "odd": "a  b\n\x1b[1m\udc80",
}
FIELDS = ("id", "exit_code", "state.status", "state.pid", "labels")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ID}}", "a1"),
        ("{{.Id}} and {{ .id }}", "a1 and a1"),
        ("{{.ExitCode}}{{.exit_code}}{{.exitcode}}", "333"),
        (r"{{.ID}}\t{{.ExitCode}}\n", "a1\t3\n"),
        ("{{.Names}}|{{.Name}}|{{.Container}}", "a1|a1|a1"),
        ("{{.State.Status}}", "running"),
        ("{{.State.oomkilled}}", "true"),
        ("{{.OomKilled}}", "false"),
        ("[{{.Error}}]", "[]"),
        ("{{.StartedAt}}", "2024-02-03T02:05:06.007000Z"),
        ("{{.Labels}}", "a=b,c=d=e"),
        ("{{.Args}}", '["sh","-c","a b"]'),
        ("{{.Odd}}", "a  b\\n\\x1b[1m\\udc80"),
        ("{{json .Odd}}", r'"a  b\n\u001b[1m\udc80"'),
        ("{{json .Labels}}", '{"a":"b","c":"d=e"}'),
        ("{{json .State.Status}}", '"running"'),
        ("{{json .StartedAt}}", '"2024-02-03T02:05:06.007000Z"'),
        ("}} {{.ID}}", "}} a1"),
        ("{{.State.ExitCode}}{{json .Config.Labels.a}}", '3"b"'),
    ],
)
def test_a_template_gives_what_docker_gives(template: str, text: str) -> None:
    assert parse_format(template).render(ROW) == text


@pytest.mark.parametrize("format", ["json", "{{json .}}"])
def test_json_is_one_compact_line_with_the_keys_as_they_are(format: str) -> None:
    text = parse_format(format).render(ROW)
    assert "\n" not in text
    assert ": " not in text
    assert json.loads(text) == ROW | {"started_at": "2024-02-03T02:05:06.007000Z"}


@pytest.mark.parametrize(
    "format",
    [
        *("", "yaml", "Table", "pretty"),
        *("{{range .Labels}}{{.}}{{end}}", "{{if .ID}}x{{end}}", "{{.ID | upper}}", "{{.}}", "{{}}", "{{json}}"),
        *("{{.ID", "x {{.ID}} {{", "{{json .ID .ExitCode}}", '{{.Label "a"}}', "{{- .ID}}", "{{.ID.}}", "{{..ID}}"),
        *("{{printf .ID}}", "{{jsonx .ID}}", "{{id}}", "{{{.ID}}}", "{{.ID}} {{/* no */}}"),
    ],
)
def test_another_format_is_refused_and_what_is_supported_is_named(format: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_format(format, FIELDS)
    assert caught.value.hint
    assert "{{json .Field}}" in caught.value.hint
    assert caught.value.hint.endswith("fields: .ID, .ExitCode, .State.Status, .State.PID, .Labels")


@pytest.mark.parametrize("template", ["{{.Nme}}", "{{.State.Foo}}", "{{.ID.X}}", "table {{.Foo}}", "{{json .Foo}}"])
def test_an_unknown_field_is_refused_before_there_is_a_row(template: str) -> None:
    with pytest.raises(InvalidArgument, match=r"unknown field: \.[A-Z]"):
        parse_format(template, FIELDS)


@pytest.mark.parametrize("template", ["{{.State}}", "{{.state.Status}}", "{{.Names}}", "table {{.ID}}", "{{json .}}"])
def test_known_fields_are_taken(template: str) -> None:
    parse_format(template, FIELDS)


@pytest.mark.parametrize("template", ["{{.Foo}}", "{{.ID.Foo}}", "{{.State.Foo}}"])
def test_where_the_fields_are_not_known_before_the_row_says_which_there_are(template: str) -> None:
    format = parse_format(template)
    with pytest.raises(InvalidArgument, match="unknown field") as caught:
        format.render({"id": "x", "state": {"status": "y"}})
    assert str(caught.value.hint).endswith("fields: .ID, .State")


def test_what_dockers_inspect_has_in_sections_is_found_where_it_is_flat() -> None:
    fields = ("id", "state", "created_at", "exit_code", "pid", "labels")
    row = {"id": "x", "state": "exited", "created_at": "then", "exit_code": 3, "pid": 0, "labels": {"a": "b"}}
    template = "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}} {{.Config.Labels}} {{.Created}}"
    assert parse_format(template, fields).render(row) == "exited 3 0 a=b then"


def test_the_exact_key_goes_before_one_that_is_only_alike() -> None:
    assert parse_format("{{.ab}} {{.a_b}}").render({"a_b": 1, "ab": 2}) == "2 1"
