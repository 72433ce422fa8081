"""An exec in a plugin that has a record.

Real: the files; ``tests/integration/cli/test_exec.py`` shows it in a running plugin.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec.containerd.runc import Command
from pluginexec.errors import FailedPrecondition, InvalidArgument, NotFound
from pluginexec.host.exec import Exec
from pluginexec.host.programs import AllRecords
from pluginexec.host.records import Record
from pluginexec.linux.pidfd import start_seconds
from pluginexec.oci.default_spec import default_spec
from tests.support.layouts import one_directory


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "rootfs").mkdir()
    return default_spec(tmp_path / "rootfs", ["its", "own"], id="x", env=["A=1", "B=1"])


@pytest.fixture
def records(tmp_path: Path, spec: dict[str, Any]) -> AllRecords:
    """Records of one plugin, whose process is that of the tests."""
    records = AllRecords(one_directory(tmp_path / "root"))
    record = Record(
        "x", datetime.now(timezone.utc), "/no/such/socket", "ns", ["its", "own"], runtime="/no/such/runtime"
    )
    records.create(record, spec)
    records.change_state("x", status="running", pid=os.getpid(), pid_started=start_seconds(os.getpid()))
    return records


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (Command(("ls",), workdir="tmp"), "--workdir 'tmp': give an absolute path"),
        (Command(("ls",), user="bob"), "--user 'bob': no such user"),
        (Command(("ls",), env=("=x",)), "--env '=...'"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_done(records: AllRecords, command: Command, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        Exec(records, "x", command)


def test_a_plugin_that_has_ended_is_not_asked(records: AllRecords) -> None:
    records.write_state("x", replace(records.state("x"), pid_started=1.0))  # another process has its pid by now
    with pytest.raises(FailedPrecondition, match="it is not running"):
        Exec(records, "x", Command(("ls",)))


def test_a_plugin_that_is_removed_meanwhile_is_told(records: AllRecords) -> None:
    command = Exec(records, "x", Command(("ls",)))
    records.remove("x")
    with pytest.raises(NotFound, match="it was removed"), command:
        pass


def test_a_runtime_that_is_not_there_is_named_and_no_file_is_left(records: AllRecords) -> None:
    with Exec(records, "x", Command(("ls",))) as command:
        assert list(records.directory("x").glob("exec-*/process.json"))
        with pytest.raises(FailedPrecondition, match="cannot run '/no/such/runtime': No such file"):
            command.start()
    assert not list(records.directory("x").glob("exec-*"))


def test_what_is_run_is_readable_for_nobody_else(records: AllRecords) -> None:
    with Exec(records, "x", Command(("ls",), env=("SECRET=1",))):
        (directory,) = records.directory("x").glob("exec-*")
        assert directory.stat().st_mode & 0o077 == 0
