"""Shims that nothing else ends: they are found and ended, and those of creates in flight are not.

Real: containerd, which is killed in the middle of a create, its shims, and the runtime with a hook that hangs. A shell
plays the shim that a containerd has forgotten, which 1.7 and later do not leave.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, PluginExecError, Remote
from pluginexec.cleanup import shims as shims_module
from pluginexec.cleanup.shims import find_shims
from pluginexec.cleanup.unfinished import Leftover, Unfinished, ids_in
from pluginexec.daemon.lost_shims import find_lost_shims, sweep_lost_shims
from pluginexec.daemon.private import ensure_running, private_files
from pluginexec.daemon.target import Target
from pluginexec.doctor.check import OK, WARNING
from pluginexec.doctor.root_checks import check_leftovers
from pluginexec.host import daemon
from pluginexec.root.layout import Layout
from tests.support.containers import slow_hook
from tests.support.embedded import own_address
from tests.support.harness import wait_until
from tests.support.layouts import one_directory

Shell = Callable[..., dict[str, Any]]
FOREVER = "exec sleep 1000"


@pytest.fixture
def layout(short_root: Path) -> Layout:
    """A root that may have a private containerd."""
    return one_directory(short_root)


def cgroups_of(id: str) -> list[Path]:
    """Return the cgroups of a plugin."""
    return [*Path("/sys/fs/cgroup").glob(f"*/pluginexec/{id}"), *Path("/sys/fs/cgroup").glob(f"pluginexec/{id}")]


def lose(layout: Layout, id: str, spec: dict[str, Any], begun: Path) -> None:
    """Kill the private containerd in the middle of a create."""
    remote = ensure_running(own_address(layout.root), layout)

    def create() -> None:
        with Executor(layout.state, remote, shared=True) as executor:
            try:
                executor.create(id, spec)
            except PluginExecError:
                return

    thread = threading.Thread(target=create, name="pluginexec-test-create")
    thread.start()
    wait_until(begun.exists, "the hook of the create")
    os.kill(next(private_files(layout).processes()), signal.SIGKILL)
    thread.join()
    assert ids_in(layout.unfinished) == [id]
    assert cgroups_of(id)


def test_the_next_start_of_a_private_containerd_ends_them(
    layout: Layout, id: str, shell: Shell, tmp_path: Path
) -> None:
    lose(layout, id, slow_hook(shell(id, FOREVER), tmp_path), tmp_path / "begun")
    remote = ensure_running(own_address(layout.root), layout)
    wait_until(lambda: not list(find_shims(remote.address)), "the end of the shim")
    wait_until(lambda: not cgroups_of(id), "the removal of its cgroups")
    daemon.stop(layout, plugins=True)


def test_with_all_that_it_runs_a_private_containerd_is_stopped_without_a_shim_or_a_cgroup_left(
    layout: Layout, id: str, shell: Shell, tmp_path: Path
) -> None:
    lose(layout, id, slow_hook(shell(id, FOREVER), tmp_path), tmp_path / "begun")
    assert daemon.stop(layout, plugins=True)
    wait_until(lambda: not list(find_shims(own_address(layout.root))), "the end of the shim")
    assert cgroups_of(id) == []


def test_the_shim_of_a_create_in_flight_is_not_lost(
    mortal: Containerd, new_executor: Callable[..., Executor], id: str, shell: Shell, tmp_path: Path
) -> None:
    executor = new_executor(remote=mortal.remote)
    spec = slow_hook(shell(id, FOREVER), tmp_path)
    thread = threading.Thread(target=lambda: executor.create(id, spec), name="pluginexec-test-create")
    begun, go = tmp_path / "begun", tmp_path / "go"
    (tmp_path / "hook").write_text(f"#!/bin/sh\ntouch '{begun}'\nuntil [ -e '{go}' ]; do sleep 0.1; done\n")
    thread.start()
    try:
        wait_until(begun.exists, "the hook of the create")
        assert list(find_shims(mortal.address, PLUGIN_NAMESPACE, id))
        # Of another root, so that no files tell whose it is.
        sweep_lost_shims(mortal.remote, one_directory(tmp_path / "other"), is_private=True)
    finally:
        go.touch()
        thread.join()
    assert executor.is_running(id)
    sweep_lost_shims(mortal.remote, one_directory(tmp_path / "other"), is_private=True)
    assert executor.is_running(id)
    executor.stop(id, timeout=0)


@pytest.fixture
def forgotten(
    remote: Remote, root_dir: Path, tmp_path: Path, id: str, clean_namespace: None
) -> Iterator[subprocess.Popen[bytes]]:
    """A shim of this root that containerd does not know."""
    bundle = tmp_path / "io.containerd.runtime.v2.task" / PLUGIN_NAMESPACE / id
    bundle.mkdir(parents=True)
    (bundle / "options.json").write_text(f'{{"root": "{one_directory(root_dir).runtime_root}"}}')
    program = shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "containerd-shim-runc-v2")
    line = ["shim", "-c", "echo; read x", "-namespace", PLUGIN_NAMESPACE, "-id", id, "-address", remote.address]
    with subprocess.Popen(
        line, executable=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=bundle
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        yield process
        process.kill()


def test_one_is_told_by_doctor_and_ended_and_then_forgotten(
    forgotten: subprocess.Popen[bytes], remote: Remote, root_dir: Path, id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shims_module, "_FORGOTTEN_AFTER", 0.0)
    layout = one_directory(root_dir)
    Unfinished(layout.unfinished, remote.address, PLUGIN_NAMESPACE).store(Leftover(id, frozenset("m"), False))
    target = Target.of(remote.address, PLUGIN_NAMESPACE, layout)
    told = check_leftovers(target)
    assert (told.status, told.found) == (WARNING, f"shims without a task: {id} (pid {forgotten.pid})")
    assert "pluginexec restore" in told.remedy
    sweep_lost_shims(remote, layout, is_private=False)
    assert forgotten.wait() == -signal.SIGKILL
    assert ids_in(layout.unfinished) == []
    assert check_leftovers(target).status == OK


def test_one_that_has_a_record_or_is_of_another_root_is_left_alone(
    forgotten: subprocess.Popen[bytes], remote: Remote, root_dir: Path, tmp_path: Path, id: str
) -> None:
    layout = one_directory(root_dir)
    assert find_lost_shims(remote, one_directory(tmp_path / "other"), is_private=False) == []
    for path in (layout.containers / id / "config.json", layout.plugins / id / "plugin.json"):
        path.parent.mkdir(parents=True)
        path.touch()
        assert find_lost_shims(remote, layout, is_private=False) == []
        shutil.rmtree(path.parent)
    assert [shim.pid for shim in find_lost_shims(remote, layout, is_private=False)] == [forgotten.pid]


def test_what_is_remembered_and_gone_is_forgotten(remote: Remote, root_dir: Path, id: str) -> None:
    layout = one_directory(root_dir)
    Unfinished(layout.unfinished, remote.address, PLUGIN_NAMESPACE).store(Leftover(id, frozenset("m"), False))
    target = Target.of(remote.address, PLUGIN_NAMESPACE, layout)
    assert check_leftovers(target).found == f"not deleted, because containerd was away: {id}"
    sweep_lost_shims(remote, layout, is_private=False)
    assert check_leftovers(target).status == OK
