"""The doctor's checks: what each tells of a machine, a root and a containerd that are well, and that are not.

Real here: containerd, one that hangs, containers, records, FIFOs, loggers, locks, file systems.
Not real: what this machine cannot be made to be, such as an older kernel; there the question is answered by the test.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pluginexec import (
    PLUGIN_NAMESPACE,
    Containerd,
    Executor,
    Remote,
)
from pluginexec.containerd.client import Client
from pluginexec.doctor import machine_checks, root_checks, run, smoke_test
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check, Place
from pluginexec.linux import machine
from pluginexec.types import TaskState
from tests.support.embedded import NOBODY, short_root
from tests.support.harness import Buffer, wait_until
from tests.support.plugins import Plugins


@pytest.fixture
def root(no_leaks: None) -> Iterator[Path]:
    with short_root() as root:
        yield root


@pytest.fixture
def place(clean_namespace: None, containerd: Containerd, root_dir: Path) -> Place:
    """Where all is well: the tests' containerd, and a root without plugins."""
    return Place.of(containerd.address, PLUGIN_NAMESPACE, root_dir)


@pytest.fixture
def nowhere(root: Path) -> Place:
    """Where nothing listens."""
    return Place.of(NOBODY, PLUGIN_NAMESPACE, root)


@pytest.fixture
def plugins(place: Place, containerd: Containerd, new_id: Callable[[], str], shell: Any) -> Plugins:
    return Plugins(place.root, containerd.address, new_id, shell)


def kill(plugins: Plugins, id: str, client: Client) -> None:
    """End a plugin while nobody supervises it."""
    os.kill(plugins.records.state(id).pid, signal.SIGKILL)
    wait_until(lambda: client.tasks()[id].state is TaskState.STOPPED, "its end")


def test_where_all_is_well_every_check_says_so_and_has_no_remedy(place: Place) -> None:
    checks = [run.run_check(check, place) for check in run.CHECKS]
    assert [check for check in checks if check.status != OK or check.remedy or not check.found] == []
    assert len({check.name for check in checks}) == len(checks)


def test_a_check_that_cannot_look_has_failed_and_the_others_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_nothing(place: Place) -> Check:
        raise OSError("no\nluck")

    monkeypatch.setattr(run, "CHECKS", (check_nothing, machine_checks.check_python))
    broken, python = run.run_checks(place)
    assert broken == Check("nothing", FAILURE, "could not be checked: OSError: no luck")
    assert python.status == OK


# The machine


def test_missing_rights_are_a_failure_unless_a_containerd_listens_that_may_have_them(
    place: Place, nowhere: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = machine.capabilities()
    monkeypatch.setattr(machine, "capabilities", lambda: everything & ~(1 << 21) & ~(1 << 27))
    check = machine_checks.check_user(nowhere)
    assert (check.status, machine_checks.check_user(place).status) == (FAILURE, WARNING)
    assert "SYS_ADMIN, MKNOD" in check.found
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    check = machine_checks.check_user(nowhere)
    assert (check.status, check.found) == (FAILURE, "not root, but user 1000")
    assert "sudo" in check.remedy


def test_programs_that_are_missing_mute_or_never_tried_are_told_of_with_a_remedy(
    place: Place, nowhere: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_checks.check_ctr(place).status == FAILURE  # without it, not even one that listens is of use
    for look in (machine_checks.check_containerd, machine_checks.check_shim, machine_checks.check_runc):
        assert (look(place).status, look(nowhere).status) == (WARNING, FAILURE)
        assert "on the PATH" in look(place).found
        assert "apt-get install containerd runc" in look(place).remedy
    (tmp_path / "ctr").write_text("#!/bin/sh\necho ctr example.com/containerd 9.9.1\n")
    (tmp_path / "ctr").chmod(0o755)
    check = machine_checks.check_ctr(place)
    assert (check.status, check.found) == (WARNING, f"9.9.1 at {tmp_path}/ctr, which was never tried")
    assert "use one of the series 1.6" in check.remedy
    (tmp_path / "ctr").write_text("#!/bin/sh\nexit 1\n")
    assert machine_checks.check_ctr(place).found == f"{tmp_path}/ctr does not tell its version"


def test_helpers_that_are_missing_are_a_failure_where_no_logger_would_run_else_a_warning(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_checks, "LOGGER_PATH", str(tmp_path))
    check = machine_checks.check_helpers(place)
    assert (check.status, check.found) == (FAILURE, f"no sh, cat in {tmp_path}")
    for name in ("sh", "cat", "sleep", "timeout"):
        (tmp_path / name).touch(mode=0o755)
    check = machine_checks.check_helpers(place)
    assert (check.status, check.found.startswith(f"no flock in {tmp_path}:")) == (WARNING, True)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no setpriv" in machine_checks.check_helpers(place).found


def test_the_logger_looks_for_its_helpers_where_the_doctor_does() -> None:
    from pluginexec.streams import shell_logger as logger

    assert f"PATH={machine_checks.LOGGER_PATH}\n" in logger._SCRIPT


@pytest.mark.parametrize(
    ("release", "status", "says"),
    [("4.19.0", FAILURE, "no pidfds"), ("5.3.0", OK, "from 6.15 on"), ("6.15.0", OK, "knows exit codes")],
)
def test_a_kernel_that_is_too_old_is_a_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch, release: str, status: str, says: str
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    check = machine_checks.check_kernel(place)
    assert (check.status, says in check.found) == (status, True)


def test_cgroups_without_a_controller_are_a_warning_and_none_at_all_a_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cgroup_controllers", lambda *mount: {"cpu", "pids"})
    check = machine_checks.check_cgroups(place)
    assert (check.status, "without freezer, memory" in check.found) == (WARNING, True)
    monkeypatch.setattr(machine, "cgroup_version", lambda: 0)
    assert machine_checks.check_cgroups(place).status == FAILURE


def test_a_kernel_without_a_namespace_is_a_failure(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "NAMESPACES", ("pid", "nope"))
    check = machine_checks.check_namespaces(place)
    assert (check.status, check.found) == (FAILURE, "the kernel has no nope")


# The socket and the root


def test_the_containerd_that_listens_is_named_and_where_none_does_the_private_one(place: Place, nowhere: Place) -> None:
    assert place.listening
    assert f"answers at {place.listening.address}" in root_checks.check_socket(place).found
    check = root_checks.check_socket(nowhere)
    said = f"nothing listens at {NOBODY}; one will be started at {nowhere.root}/containerd/containerd.sock"
    assert (check.status, check.found) == (OK, said)


def test_a_private_one_that_listens_is_used(containerd: Containerd, root: Path) -> None:
    (root / "containerd").symlink_to(Path(containerd.address).parent)
    try:
        place = Place.of(NOBODY, PLUGIN_NAMESPACE, root)
        assert place.listening == Remote(containerd.address)
        assert f"for nothing listens at {NOBODY}" in root_checks.check_socket(place).found
    finally:
        (root / "containerd").unlink()


def test_a_containerd_that_hangs_or_is_of_a_series_never_tried_is_told_of(
    place: Place, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(root / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        check = root_checks.check_socket(Place.of(address, PLUGIN_NAMESPACE, root))
    assert (check.status, check.found.startswith(f"{address}: ")) == (FAILURE, True)
    assert check.remedy
    monkeypatch.setattr(root_checks, "TRIED", ("0.1",))
    check = root_checks.check_socket(place)
    assert (check.status, "was never tried" in check.found) == (WARNING, True)


def test_a_root_too_long_for_a_socket_is_a_failure_only_where_a_private_one_is_needed(
    place: Place, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    check = run.run_check(root_checks.check_socket, Place.of(NOBODY, PLUGIN_NAMESPACE, long))
    assert (check.status, "at most 98" in check.found) == (FAILURE, True)
    assert "shorter" in check.remedy
    assert run.run_check(root_checks.check_socket, replace(place, root=long)).status == OK


def test_a_root_that_is_no_directory_full_or_open_to_others_is_told_of(place: Place, tmp_path: Path) -> None:
    def check(root: Path) -> Check:
        return root_checks.check_root(replace(place, root=root))

    (tmp_path / "file").touch()
    assert check(tmp_path / "file/root").status == FAILURE
    assert check(tmp_path / "new/root").found.endswith("it will be made")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert (check(tmp_path / "open").status, check(tmp_path / "open").remedy) == (WARNING, f"chmod 700 {tmp_path}/open")
    (tmp_path / "small").mkdir(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", tmp_path / "small"], check=True)
    try:
        small = check(tmp_path / "small")
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)
    assert (small.status, small.found) == (WARNING, f"{tmp_path}/small, on tmpfs, 1 MiB free")


def test_who_uses_the_root_is_told_and_who_has_it_alone_is_a_warning(place: Place, remote: Remote) -> None:
    assert root_checks.check_users(place).found == "no process uses the root now"
    with Executor(place.root, remote, shared=True), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as serve:
        serve.bind(str(place.root / "serve.sock"))
        check = root_checks.check_users(place)
        assert check.status == OK
        assert "serve keeps its plugins; used by" in check.found
        assert f"(pid {os.getpid()})" in check.found
    with Executor(place.root, remote):
        check = root_checks.check_users(place)
    assert (check.status, f"(pid {os.getpid()}) has the root for itself" in check.found) == (WARNING, True)


# What was left behind


def test_a_plugin_that_ended_unseen_is_told_of_until_somebody_looks(
    place: Place, plugins: Plugins, client: Client
) -> None:
    id = plugins.run()
    assert root_checks.check_records(place) == Check("plugins", OK, "1 in all")
    assert root_checks.check_containers(place).status == OK
    kill(plugins, id, client)
    for check in (root_checks.check_records(place), root_checks.check_containers(place)):
        assert (check.status, id in check.found, "pluginexec ps -a" in check.remedy) == (WARNING, True, True)
    with plugins.records.lock(id):  # somebody does
        assert root_checks.check_records(place).status == root_checks.check_containers(place).status == OK
    plugins.host.reconcile(id)
    assert root_checks.check_records(place).status == root_checks.check_containers(place).status == OK


def test_a_record_that_cannot_be_read_is_told_of_and_the_remedy_removes_it(place: Place, plugins: Plugins) -> None:
    id = plugins.create()
    (plugins.records.directory(id) / "state.json").write_text("{")
    check = root_checks.check_records(place)
    assert (check.status, id in check.found) == (WARNING, True)
    subprocess.run(shlex.split(check.remedy), check=True)
    assert root_checks.check_records(place) == Check("plugins", OK, "0 in all")


def test_an_ended_container_of_no_plugin_here_is_told_of_and_the_remedy_removes_it(
    place: Place, plugins: Plugins, client: Client, tmp_path: Path
) -> None:
    id = plugins.run()
    elsewhere = replace(place, root=tmp_path / "elsewhere")
    assert root_checks.check_containers(elsewhere).status == OK  # it runs: another root's
    kill(plugins, id, client)
    check = root_checks.check_containers(elsewhere)
    assert (check.status, id in check.found) == (WARNING, True)
    subprocess.run(shlex.split(check.remedy.partition(": ")[2]), check=True)
    assert client.containers() == []
    assert root_checks.check_containers(elsewhere).status == OK


def test_fifos_without_a_container_are_told_of_and_those_in_use_are_not(
    place: Place, remote: Remote, id: str, shell: Any, client: Client
) -> None:
    with Executor(place.root, remote, shared=True) as executor:
        executor.create(id, shell(id, "exec sleep 1000"), Buffer(), Buffer())
        assert root_checks.check_leftovers(place).status == OK
    assert root_checks.check_leftovers(place).status == OK  # it runs, and its output waits there
    client.delete_task(id, force=True)
    client.delete_container(id)
    check = root_checks.check_leftovers(place)
    assert (check.status, id in check.found) == (WARNING, True)
    assert root_checks.check_leftovers(replace(place, listening=None)).status == OK  # nobody knows
    assert "'pluginexec restore'" in check.remedy
    subprocess.run(shlex.split(check.remedy.partition("; or ")[2]), check=True)
    assert not (place.root / "containers" / id).exists()
    wait_until(lambda: root_checks.check_leftovers(place).status == OK, "the end of the logger, whose files are gone")


def test_a_logger_whose_plugin_is_gone_is_told_of_and_the_remedy_ends_it(place: Place, id: str) -> None:
    mark = place.root / "containers" / id / "config.json"
    mark.parent.mkdir(parents=True)
    mark.touch()
    logger = subprocess.Popen(["sh", "-c", f"exec sleep 1000 5<{mark}"], env={"CONTAINER_ID": id})
    try:
        wait_until(lambda: (Path(f"/proc/{logger.pid}/fd/5")).exists(), "the logger's file")
        assert root_checks.check_leftovers(place).status == OK
        mark.unlink()
        check = root_checks.check_leftovers(place)
        assert (check.status, check.remedy) == (WARNING, f"kill -9 {logger.pid}")
        subprocess.run(shlex.split(check.remedy), check=True)
    finally:
        logger.kill()
        logger.wait()
    assert root_checks.check_leftovers(place).status == OK


def test_what_a_doctor_left_that_was_killed_is_told_of(place: Place) -> None:
    (place.root / "dr-123456").mkdir()
    check = root_checks.check_leftovers(place)
    assert (check.status, check.remedy) == (WARNING, f"rm -r {place.root}/dr-123456")
    subprocess.run(shlex.split(check.remedy), check=True)
    assert root_checks.check_leftovers(place).status == OK


# The plugin


def test_a_tiny_plugin_that_fails_is_a_failure_with_what_to_do(nowhere: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    check = smoke_test.check_plugin(nowhere)
    assert (check.status, "cannot run 'containerd'" in check.found) == (FAILURE, True)
    assert "install it" in check.remedy


def test_a_tiny_plugin_that_cannot_be_made_is_a_warning(nowhere: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.doctor.smoke_test.tiny_program", lambda machine: None)
    check = smoke_test.check_plugin(nowhere)
    assert (check.status, check.found.startswith("not tried: no tiny program")) == (WARNING, True)
