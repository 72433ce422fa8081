"""Checks of the root that need no containerd."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

from pluginexec import PLUGIN_NAMESPACE
from pluginexec.daemon.target import Target
from pluginexec.doctor import root_checks, run
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check
from tests.support.layouts import one_directory


def test_a_root_too_long_for_a_socket_is_a_failure_where_a_private_one_is_needed(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    check = run.run_check(root_checks.check_socket, Target(None, PLUGIN_NAMESPACE, one_directory(long), None))
    assert (check.status, "at most 98" in check.found) == (FAILURE, True)
    assert "shorter" in check.remedy


def test_a_root_that_is_no_directory_or_open_to_others_is_reported(nowhere: Target, tmp_path: Path) -> None:
    def check(root: Path) -> Check:
        return root_checks.check_root(replace(nowhere, layout=one_directory(root)))

    (tmp_path / "file").touch()
    assert check(tmp_path / "file/root").status == FAILURE
    assert check(tmp_path / "new/root").found.endswith("it will be created")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert (check(tmp_path / "open").status, check(tmp_path / "open").remedy) == (WARNING, f"chmod 700 {tmp_path}/open")


def test_what_a_doctor_left_that_was_killed_is_reported(nowhere: Target) -> None:
    (nowhere.layout.root / "dr-123456").mkdir()
    check = root_checks.check_leftovers(nowhere)
    assert (check.status, check.remedy) == (WARNING, f"rm -r {nowhere.layout.root}/dr-123456")
    subprocess.run(shlex.split(check.remedy), check=True)
    assert root_checks.check_leftovers(nowhere).status == OK
