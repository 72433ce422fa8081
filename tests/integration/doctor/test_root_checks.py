"""Checks of the root and its containerd.

Real: containerd, one that hangs, containers, records, FIFOs, loggers, locks, file systems.
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
from typing import Any

import pytest

from pluginexec import (
    PLUGIN_NAMESPACE,
    Containerd,
    Executor,
    Remote,
)
from pluginexec.containerd.client import Client
from pluginexec.daemon.target import Target
from pluginexec.doctor import root_checks, run
from pluginexec.doctor.check import FAILURE, OK, WARNING, Check
from pluginexec.types import TaskState
from tests.support.embedded import NOBODY, short_root
from tests.support.harness import Buffer, wait_until
from tests.support.layouts import one_directory
from tests.support.plugins import Plugins


@pytest.fixture
def root(no_leaks: None) -> Iterator[Path]:
    with short_root() as root:
        yield root


@pytest.fixture
def target(clean_namespace: None, containerd: Containerd, root_dir: Path) -> Target:
    """Where all is well: the tests' containerd, and a root without plugins."""
    return Target.of(containerd.address, PLUGIN_NAMESPACE, one_directory(root_dir))


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take it that this machine has no containerd of its own."""
    monkeypatch.delenv("CONTAINERD_ADDRESS", raising=False)
    monkeypatch.setattr("pluginexec.containerd.remote.DEFAULT_ADDRESS", NOBODY)


@pytest.fixture
def nowhere(root: Path, nobody: None) -> Target:
    """Where nothing listens."""
    return Target.of(None, PLUGIN_NAMESPACE, one_directory(root))


@pytest.fixture
def plugins(target: Target, containerd: Containerd, new_id: Callable[[], str], shell: Any) -> Plugins:
    return Plugins(target.layout.root, containerd.address, new_id, shell)


def kill(plugins: Plugins, id: str, client: Client) -> None:
    """End a plugin while no process supervises it."""
    os.kill(plugins.records.state(id).pid, signal.SIGKILL)
    wait_until(lambda: client.tasks()[id].state is TaskState.STOPPED, "its end")


# The socket and the root


def test_the_containerd_that_listens_is_named_and_where_none_does_the_private_one(
    target: Target, nowhere: Target
) -> None:
    assert target.listening
    assert f"answers at {target.listening.address}" in root_checks.check_socket(target).found
    check = root_checks.check_socket(nowhere)
    said = (
        f"no containerd at {NOBODY}; a private one will be started at {nowhere.layout.root}/containerd/containerd.sock"
    )
    assert (check.status, check.found) == (OK, said)


def test_where_nothing_listens_on_an_address_that_was_given_that_is_a_failure(
    containerd: Containerd, root: Path
) -> None:
    (root / "containerd").symlink_to(Path(containerd.address).parent)
    try:
        check = root_checks.check_socket(Target.of(NOBODY, PLUGIN_NAMESPACE, one_directory(root)))
    finally:
        (root / "containerd").unlink()
    assert (check.status, check.found) == (FAILURE, f"no containerd listens at {NOBODY!r}")
    assert "if no address is given" in check.remedy


@pytest.mark.usefixtures("nobody")
def test_a_private_one_that_listens_is_used(containerd: Containerd, root: Path) -> None:
    (root / "containerd").symlink_to(Path(containerd.address).parent)
    try:
        target = Target.of(None, PLUGIN_NAMESPACE, one_directory(root))
        assert target.listening == Remote(containerd.address)
        assert f"(none at {NOBODY})" in root_checks.check_socket(target).found
    finally:
        (root / "containerd").unlink()


def test_a_containerd_that_hangs_or_is_of_a_series_never_tested_is_reported(
    target: Target, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(root / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        check = root_checks.check_socket(Target.of(address, PLUGIN_NAMESPACE, one_directory(root)))
    assert (check.status, check.found.startswith(f"{address}: ")) == (FAILURE, True)
    assert check.remedy
    monkeypatch.setattr(root_checks, "TESTED", ("0.1",))
    check = root_checks.check_socket(target)
    assert (check.status, "has not been tested with pluginexec" in check.found) == (WARNING, True)


def test_a_root_too_long_for_a_socket_does_not_matter_where_a_containerd_listens(
    target: Target, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    assert run.run_check(root_checks.check_socket, replace(target, layout=one_directory(long))).status == OK


def test_a_root_on_a_full_file_system_is_reported(target: Target, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", tmp_path / "small"], check=True)
    try:
        small = root_checks.check_root(replace(target, layout=one_directory(tmp_path / "small")))
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)
    assert (small.status, small.found) == (WARNING, f"{tmp_path}/small, on tmpfs, 1 MiB free")


def test_who_uses_the_root_is_reported_and_who_uses_it_exclusively_is_a_warning(target: Target, remote: Remote) -> None:
    assert root_checks.check_users(target).found == "not in use by any process"
    with Executor(target.layout.root, remote, shared=True), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as serve:
        serve.bind(str(target.layout.root / "serve.sock"))
        check = root_checks.check_users(target)
        assert check.status == OK
        assert "serve supervises its plugins; used by" in check.found
        assert f"(pid {os.getpid()})" in check.found
    with Executor(target.layout.root, remote):
        check = root_checks.check_users(target)
    assert (check.status, f"(pid {os.getpid()}) uses the root exclusively" in check.found) == (WARNING, True)


# What was left behind


def test_a_plugin_that_ended_unseen_is_reported_until_it_is_reconciled(
    target: Target, plugins: Plugins, client: Client
) -> None:
    id = plugins.run()
    assert root_checks.check_records(target) == Check("plugins", OK, "1 in total")
    assert root_checks.check_containers(target).status == OK
    kill(plugins, id, client)
    for check in (root_checks.check_records(target), root_checks.check_containers(target)):
        assert (check.status, id in check.found, "pluginexec ps -a" in check.remedy) == (WARNING, True, True)
    with plugins.records.lock(id):  # another process is doing that
        assert root_checks.check_records(target).status == root_checks.check_containers(target).status == OK
    plugins.host.reconcile(id)
    assert root_checks.check_records(target).status == root_checks.check_containers(target).status == OK


def test_a_record_that_cannot_be_read_is_reported_and_the_remedy_removes_it(target: Target, plugins: Plugins) -> None:
    id = plugins.create()
    (plugins.records.directory(id) / "state.json").write_text("{")
    check = root_checks.check_records(target)
    assert (check.status, id in check.found) == (WARNING, True)
    subprocess.run(shlex.split(check.remedy), check=True)
    assert root_checks.check_records(target) == Check("plugins", OK, "0 in total")


def test_an_ended_container_of_no_plugin_here_is_reported_and_the_remedy_removes_it(
    target: Target, plugins: Plugins, client: Client, tmp_path: Path
) -> None:
    id = plugins.run()
    elsewhere = replace(target, layout=one_directory(tmp_path / "elsewhere"))
    assert root_checks.check_containers(elsewhere).status == OK  # it runs: another root's
    kill(plugins, id, client)
    check = root_checks.check_containers(elsewhere)
    assert (check.status, id in check.found) == (WARNING, True)
    subprocess.run(shlex.split(check.remedy.partition(": ")[2]), check=True)
    assert client.containers() == []
    assert root_checks.check_containers(elsewhere).status == OK


def test_fifos_without_a_container_are_reported_and_those_in_use_are_not(
    target: Target, remote: Remote, id: str, shell: Any, client: Client
) -> None:
    with Executor(target.layout.root, remote, shared=True) as executor:
        executor.create(id, shell(id, "exec sleep 1000"), Buffer(), Buffer())
        assert root_checks.check_leftovers(target).status == OK
    assert root_checks.check_leftovers(target).status == OK  # it runs, and its output waits there
    client.delete_task(id, force=True)
    client.delete_container(id)
    check = root_checks.check_leftovers(target)
    assert (check.status, id in check.found) == (WARNING, True)
    assert root_checks.check_leftovers(replace(target, listening=None)).status == OK  # containerd cannot be asked
    assert "'pluginexec restore'" in check.remedy
    subprocess.run(shlex.split(check.remedy.partition("; or ")[2]), check=True)
    assert not (target.layout.root / "containers" / id).exists()
    wait_until(lambda: root_checks.check_leftovers(target).status == OK, "the end of the logger, whose files are gone")


def test_a_logger_whose_plugin_is_gone_is_reported_and_the_remedy_ends_it(target: Target, id: str) -> None:
    mark = target.layout.root / "containers" / id / "config.json"
    mark.parent.mkdir(parents=True)
    mark.touch()
    logger = subprocess.Popen(["sh", "-c", f"exec sleep 1000 5<{mark}"], env={"CONTAINER_ID": id})
    try:
        wait_until(lambda: (Path(f"/proc/{logger.pid}/fd/5")).exists(), "the logger's file")
        assert root_checks.check_leftovers(target).status == OK
        mark.unlink()
        check = root_checks.check_leftovers(target)
        assert (check.status, check.remedy) == (WARNING, f"kill -9 {logger.pid}")
        subprocess.run(shlex.split(check.remedy), check=True)
    finally:
        logger.kill()
        logger.wait()
    assert root_checks.check_leftovers(target).status == OK
