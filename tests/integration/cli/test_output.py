"""Data on stdout: tables, and sizes and durations in docker's words.

Real: everything; nothing here needs containerd.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pluginexec import InvalidArgument
from pluginexec.cli.humanize import human_duration, human_size, human_status, now
from pluginexec.cli.output import format_option, print_document, print_rows
from tests.support.probe import environment, finished, on_terminal, probe

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


PRINT = """
    from pluginexec.cli.output import print_rows
    print_rows([{"id": "a", "status": "Up 1 second"}, {"id": "b", "status": "Created"}], "table",
               [("ID", "id"), ("STATUS", "status")])
"""


@pytest.mark.parametrize(
    ("env", "status"),
    [({}, "\x1b[32mUp 1 second\x1b[0m"), ({"NO_COLOR": "1"}, "Up 1 second"), ({"TERM": "dumb"}, "Up 1 second")],
)
def test_on_a_terminal_the_status_has_colour_unless_nobody_wants_it(env: dict[str, str], status: str) -> None:
    with on_terminal(probe(PRINT), environment(**{"TERM": "xterm", **env})) as terminal:
        pass
    assert terminal.text.splitlines() == ["ID        STATUS", f"a         {status}", "b         Created"]


def test_in_a_pipe_there_is_no_colour() -> None:
    assert finished(probe(PRINT), environment(TERM="xterm"))[1].splitlines()[1] == "a         Up 1 second"


def test_rows_on_a_full_disk_are_an_error_that_names_stdout() -> None:
    with open("/dev/full", "wb") as full:
        code, _, stderr = finished(probe(PRINT), stdout=full)
    assert (code, stderr) == (125, "pluginexec: stdout cannot be written to: No space left on device\n")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *(
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (12_345_678, "11.77MiB"),
            (1 << 30, "1GiB"),
            (1 << 70, "1024EiB"),
        ),
    ],
)
def test_sizes_are_dockers(size: int, text: str) -> None:
    assert human_size(size) == text


MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-5, "Less than a second"), (0.9, "Less than a second"), (1.9, "1 second"), (59.9, "59 seconds")),
        *((MINUTE, "About a minute"), (2 * MINUTE - 1, "About a minute"), (2 * MINUTE, "2 minutes")),
        *((HOUR - 1, "59 minutes"), (HOUR, "About an hour"), (1.49 * HOUR, "About an hour"), (1.5 * HOUR, "2 hours")),
        *((47 * HOUR, "47 hours"), (48 * HOUR, "2 days"), (13.9 * DAY, "13 days"), (14 * DAY, "2 weeks")),
        *((59 * DAY, "8 weeks"), (60 * DAY, "2 months"), (729 * DAY, "24 months"), (730 * DAY, "2 years")),
    ],
)
def test_durations_are_dockers(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_states_are_dockers() -> None:
    ago = now() - timedelta(minutes=5, seconds=1)
    assert human_status("created") == "Created"
    assert human_status("running", started_at=ago) == "Up 5 minutes"
    assert human_status("paused", started_at=ago) == "Up 5 minutes (Paused)"
    assert human_status("exited", exit_code=3, finished_at=ago) == "Exited (3) 5 minutes ago"
    assert human_status("exited", exit_code=0, finished_at=ago, started_at=ago) == "Exited (0) 5 minutes ago"
    assert human_status("restarting", exit_code=1, finished_at=ago) == "Restarting (1) 5 minutes ago"
    assert human_status("exited") == "Exited (unknown)"


def test_json_is_readable_by_a_program_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, [{"id": "é\n", "at": now()}] * 2, "json", COLUMNS)
    assert [json.loads(line)["id"] for line in lines] == ["é\n"] * 2
