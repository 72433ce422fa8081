"""Data on stdout: tables, JSON and templates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pluginexec import InvalidArgument
from pluginexec.cli.humanize import now
from pluginexec.cli.output import format_option, print_document, print_rows

COLUMNS = [("CONTAINER ID", "id"), ("STATUS", "status"), ("N", "n")]
ROWS: list[dict[str, Any]] = [
    {"id": "a", "status": "Up 5 minutes", "n": 1},
    {"id": "much-longer-than-others", "status": "Exited (0)", "n": None},
]


def printed(capsys: pytest.CaptureFixture[str], *args: Any) -> list[str]:
    print_rows(*args)
    return capsys.readouterr().out.split("\n")[:-1]


def test_a_table_is_aligned_as_docker_does_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, ROWS, "table", COLUMNS) == [
        "CONTAINER ID              STATUS         N",
        "a                         Up 5 minutes   1",
        "much-longer-than-others   Exited (0)     ",
    ]


def test_columns_are_never_narrower_than_dockers(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, [{"a": 1, "b": 2}], "table", [("A", "a"), ("B", "b")]) == [
        "A         B",
        "1         2",
    ]


def test_without_rows_a_table_is_its_header_and_the_rest_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, [], "table", COLUMNS) == ["CONTAINER ID   STATUS    N"]
    assert printed(capsys, [], "json", COLUMNS) == []
    assert printed(capsys, [], "{{.ID}}", COLUMNS) == []


def test_a_table_of_a_template_has_its_columns_and_their_headers(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "x", "exit_code": 3, "status": "s"}]
    assert printed(capsys, rows, r"table {{.Status}}\t{{.ExitCode}}\t<{{.ID}}>", COLUMNS) == [
        "STATUS    EXIT CODE   <CONTAINER ID>",
        "s         3           <x>",
    ]


def test_a_cell_cannot_drive_the_terminal_or_break_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a\nb\t\x1b[2J\u202e", "status": ""}]
    for format in ("table", r"table {{.ID}}\t{{.Status}}"):
        lines = printed(capsys, rows, format, COLUMNS[:2])
        assert len(lines) == 2
        assert lines[1].rstrip() == r"a\nb\t\x1b[2J\u202e"


def test_rows_are_printed_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(2):
            yield {"n": number}
            seen.append(capsys.readouterr().out)

    print_rows(rows(), "json", COLUMNS)
    assert seen == ['{"n":0}\n', '{"n":1}\n']


def test_a_document_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    for format in ("json", "table"):
        print_document({"a": [1]}, format)
    print_document({"a": [1]}, "{{.A}}")
    assert capsys.readouterr().out == '{"a":[1]}\n{"a":[1]}\n[1]\n'


def test_the_option_refuses_a_format_before_the_command_does_anything() -> None:
    done = []

    @click.command()
    @format_option(["id"])
    def command(format: str) -> None:
        done.append(format)

    for wrong in ("{{.Foo}}", "{{range .}}", ""):
        assert isinstance(CliRunner().invoke(command, ["--format", wrong]).exception, InvalidArgument)
    assert not done
    for right in ("table", "json", "{{.ID}}"):
        CliRunner().invoke(command, ["--format", right], catch_exceptions=False)
    CliRunner().invoke(command, [], catch_exceptions=False)
    assert done == ["table", "json", "{{.ID}}", "table"]


def test_json_is_readable_by_a_program_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, [{"id": "é\n", "at": now()}] * 2, "json", COLUMNS)
    assert [json.loads(line)["id"] for line in lines] == ["é\n"] * 2
