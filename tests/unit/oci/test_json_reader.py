"""JSON from outside: bounded, each key once. What is refused of a whole file is in ``test_spec``, by ``load_spec``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pluginexec.errors import InvalidArgument
from pluginexec.managed.config import load_config
from pluginexec.oci.json_reader import parse_object, read_object
from pluginexec.oci.spec import load_spec
from tests.support.hostile import nested


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "a"),
        ('{"process": {"args": ["a"], "args": ["b"]}}', "process.args"),
        ('{"mounts": [{}, {"source": "/a", "source": "/a"}]}', "mounts[1].source"),
        ('{"x": {"a": 1}, "x": {"b": 1, "b": 2}}', "x"),
        ('{"a\\u0000": 1, "a\\u0000": 2}', "'a\\x00'"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_where_it_is(text: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_object(text.encode(), "file 'x'")
    assert str(caught.value) == f"file 'x': {field} stands twice; remove one"


@pytest.mark.parametrize("load", [load_spec, load_config])
def test_a_spec_and_a_plugins_config_are_read_by_it(tmp_path: Path, load: Any) -> None:
    for text, says in (
        ('{"linux": {"x": 1, "x": 2}}', "linux.x stands twice"),
        ("[]", "must be a json object, not a list"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        (json.dumps({"a": nested(200)}), "nested deeper than 100 levels"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InvalidArgument, match=says):
            load(tmp_path)


def test_a_sparse_gigabyte_is_refused_without_being_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InvalidArgument, match="over 16 MiB"):
        read_object(tmp_path, "spec")


def test_an_integer_of_many_digits_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="beyond 64 bits"):
        parse_object(b'{"a": ' + b"9" * 10_000 + b"}", "x")


def test_the_same_key_in_other_objects_is_not_twice() -> None:
    assert parse_object(b'{"a": {"a": [{"a": 1}, {"a": 2}]}}', "x") == {"a": {"a": [{"a": 1}, {"a": 2}]}}
