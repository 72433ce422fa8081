"""``pluginexec ps``: which plugins it lists, and how.

Real: the console script, containerd and the plugins where their state matters; records written by hand where only what
is printed matters.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pluginexec.host.records import Record, Records, State
from tests.integration.cli.conftest import Px
from tests.support.layouts import one_directory

TICK = "while :; do sleep 0.05; done"
NOW = datetime(2026, 11, 24, 1, 2, 3, tzinfo=timezone.utc)


@pytest.fixture
def three(root_dir: Path) -> Records:
    """Three records that need no containerd: one created, and two that have ended."""
    records = Records(one_directory(root_dir))
    for id, labels in (("one", {"tier": "web"}), ("two", {"tier": "db"}), ("three", {})):
        records.create(Record(id, NOW, "/no/such/socket", "n", ["sleep", "1000"], labels=labels), {})
    records.write_state("one", State("exited", 7, 1.0, NOW, NOW, exit_code=3))
    records.write_state("two", State("exited", 8, 1.0, NOW, NOW, exit_code=0))
    return records


def test_those_that_run_are_listed_and_with_a_all(detached: Callable[..., str], px: Px) -> None:
    running, ended = detached(TICK), detached("exit 3")
    px("wait", ended)
    listed = px("ps").lines
    assert listed[0].split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS"]
    assert [line.split()[0] for line in listed[1:]] == [running]
    assert " Up " in listed[1]
    everything = px("ps", "-a").lines
    assert [line.split()[0] for line in everything[1:]] == [ended, running], "the last created first"
    assert "Exited (3) " in everything[1]


def test_a_paused_one_says_so(detached: Callable[..., str], px: Px) -> None:
    id = detached(TICK)
    px("pause", id)
    assert px("ps", "--format", "{{.State}} {{.Status}}").lines[0].startswith("paused Up ")
    assert px("ps", "--format", "{{.Status}}").lines[0].endswith("(Paused)")
    assert px("ps", "-q", "-f", "status=paused").lines == [id]
    px("unpause", id)
    assert px("ps", "--format", "{{.State}}").lines == ["running"]


def test_an_empty_list_has_a_header_and_nothing_else(px: Px) -> None:
    assert len(px("ps").lines) == 1
    assert px("ps", "-q").out == b""
    assert px("ps", "--format", "json").out == b""


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["status=created"], ["three"]),
        (["status=exited"], ["two", "one"]),
        (["exited=3"], ["one"]),
        (["label=tier"], ["two", "one"]),
        (["label=tier=db"], ["two"]),
        (["label=tier=db", "label=tier=web"], ["two", "one"]),
        (["label=tier=db", "exited=3"], []),
        (["id=t"], ["three", "two"]),
        (["name=one"], ["one"]),
        (["status=running"], []),
    ],
)
def test_filters_choose(px: Px, three: Records, filters: list[str], ids: list[str]) -> None:
    options = [word for text in filters for word in ("-f", text)]
    assert px("ps", "-a", "-q", *options).lines == ids


def test_json_has_one_object_a_line_with_stable_keys(px: Px, three: Records) -> None:
    rows = [json.loads(line) for line in px("ps", "-a", "--format", "json").lines]
    assert [row["id"] for row in rows] == ["three", "two", "one"]
    assert set(rows[2]) == {
        *("id", "image", "command", "created", "status", "created_at", "state", "pid", "started_at", "finished_at"),
        *(
            "finished_at_is_upper_bound",
            "exit_code",
            "oom_killed",
            "error",
            "restart",
            "restart_count",
            "labels",
            "log_driver",
            "address",
            "namespace",
        ),
    }
    assert rows[2]["created_at"] == "2026-11-24T01:02:03Z"
    assert (rows[2]["state"], rows[2]["exit_code"], rows[2]["labels"]) == ("exited", 3, {"tier": "web"})


def test_a_command_is_cut_in_a_table_alone(px: Px, root_dir: Path) -> None:
    Records(one_directory(root_dir)).create(Record("one", NOW, "/a", "n", ["echo", "x" * 60]), {})
    assert "echo xxxxxxxxxxxxxx…" in px("ps", "-a").lines[1]
    assert "x" * 60 in px("ps", "-a", "--no-trunc").lines[1]
    assert px("ps", "-a", "--format", "{{.Command}}").lines == ["echo " + "x" * 60]


def test_what_cannot_be_reconciled_because_its_containerd_is_away_is_shown_as_far_as_known(
    px: Px, three: Records
) -> None:
    three.write_state("one", State("running", 1 << 22, 1.0, NOW))
    assert px("ps", "-a", "-f", "id=one", "--format", "{{.State}} {{.Status}}").lines[0].startswith("exited Exited (")
    assert three.state("one").status == "running", "it can be found out later"


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_record_is_reported_and_hides_no_other(px: Px, three: Records, content: str) -> None:
    (three.directory("two") / "plugin.json").write_text(content)
    done = px("ps", "-a", "-q")
    assert (done.code, sorted(done.lines)) == (125, ["one", "three"])
    assert done.err.startswith(b"pluginexec: 'two': file ")
    assert done.err.count(b"\n") == 1
    assert px("info", "-f", "{{.Stopped}}").lines == ["2"]
    assert px("stats", "--no-stream").code == 0


def test_a_template_that_is_not_understood_is_refused(px: Px) -> None:
    done = px("ps", "--format", "{{range .}}")
    assert (done.code, done.out) == (125, b"")
    assert done.err.count(b"\n") == 1
