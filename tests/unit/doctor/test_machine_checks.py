"""Checks of the machine. What a machine lacks, such as a newer kernel, is answered by the test."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from pluginexec.daemon.target import Target
from pluginexec.doctor import machine_checks
from pluginexec.doctor.check import FAILURE, OK, WARNING
from pluginexec.linux import machine


def test_missing_rights_are_a_failure_unless_a_containerd_listens_that_may_have_them(
    target: Target, nowhere: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "capabilities", lambda: ((1 << 41) - 1) & ~(1 << 21) & ~(1 << 27))
    check = machine_checks.check_user(nowhere)
    assert (check.status, machine_checks.check_user(target).status) == (FAILURE, WARNING)
    assert "SYS_ADMIN, MKNOD" in check.found
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    check = machine_checks.check_user(nowhere)
    assert (check.status, check.found) == (FAILURE, "user 1000, not root")
    assert "sudo" in check.remedy


def test_programs_that_are_missing_mute_or_never_tested_are_reported_with_a_remedy(
    target: Target, nowhere: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_checks.check_ctr(target).status == FAILURE  # without it, not even one that listens is of use
    for look in (machine_checks.check_containerd, machine_checks.check_shim, machine_checks.check_runc):
        assert (look(target).status, look(nowhere).status) == (WARNING, FAILURE)
        assert "on the PATH" in look(target).found
        assert "apt-get install containerd runc" in look(target).remedy
    (tmp_path / "ctr").write_text("#!/bin/sh\necho ctr example.com/containerd 9.9.1\n")
    (tmp_path / "ctr").chmod(0o755)
    check = machine_checks.check_ctr(target)
    assert (check.status, check.found) == (WARNING, f"9.9.1 at {tmp_path}/ctr has not been tested with pluginexec")
    assert "use a tested series (1.6" in check.remedy
    (tmp_path / "ctr").write_text("#!/bin/sh\nexit 1\n")
    assert machine_checks.check_ctr(target).found == f"{tmp_path}/ctr does not report its version"


def test_helpers_that_are_missing_are_a_failure_where_no_logger_would_run_else_a_warning(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pluginexec.doctor.machine_checks.LOGGER_PATH", str(tmp_path))
    check = machine_checks.check_helpers(target)
    assert (check.status, check.found) == (FAILURE, f"no sh, cat in {tmp_path}")
    for name in ("sh", "cat", "sleep", "timeout"):
        (tmp_path / name).touch(mode=0o755)
    check = machine_checks.check_helpers(target)
    assert (check.status, check.found.startswith(f"no flock in {tmp_path}:")) == (WARNING, True)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no setpriv" in machine_checks.check_helpers(target).found


@pytest.mark.parametrize(
    ("release", "status", "says"),
    [("4.19.0", FAILURE, "not support pidfds"), ("5.3.0", OK, "from 6.15 on"), ("6.15.0", OK, "6.15.0; exit codes")],
)
def test_a_kernel_that_is_too_old_is_a_failure(
    target: Target, monkeypatch: pytest.MonkeyPatch, release: str, status: str, says: str
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    check = machine_checks.check_kernel(target)
    assert (check.status, says in check.found) == (status, True)


def test_cgroups_without_a_controller_are_a_warning_and_none_at_all_a_failure(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cgroup_controllers", lambda *mount: {"cpu", "pids"})
    check = machine_checks.check_cgroups(target)
    assert (check.status, "without freezer, memory" in check.found) == (WARNING, True)
    monkeypatch.setattr(machine, "cgroup_version", lambda: 0)
    assert machine_checks.check_cgroups(target).status == FAILURE


def test_a_kernel_without_a_namespace_is_a_failure(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "NAMESPACES", ("pid", "nope"))
    check = machine_checks.check_namespaces(target)
    assert (check.status, check.found) == (FAILURE, "the kernel does not support nope")
