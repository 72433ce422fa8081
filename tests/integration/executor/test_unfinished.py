"""What a failed create has made is ended, also by the next executor on the root, whichever id that is asked for.

Real: containerd, which is killed in the middle of a create, the shims, and the runtime with a hook that hangs.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, PluginExecError, Remote, Unavailable
from pluginexec.cleanup.shims import find_shims
from pluginexec.cleanup.unfinished import ids_in
from pluginexec.root.plugin_files import PluginFiles
from tests.support.containers import slow_hook
from tests.support.harness import Exits, wait_until
from tests.support.wrapper import Wrapper

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
FOREVER = "exec sleep 1000"
AWAY = 'echo "ctr: failed to dial" >&2; exit 1'


def cgroups_of(id: str) -> list[Path]:
    """Return the cgroups of a plugin."""
    return [*Path("/sys/fs/cgroup").glob(f"*/pluginexec/{id}"), *Path("/sys/fs/cgroup").glob(f"pluginexec/{id}")]


def is_ended(remote: Remote, root: Path, id: str) -> bool:
    """Return whether nothing is left of a plugin: no shim, container, cgroup, and no memory of it."""
    return (
        not list(find_shims(remote.address, PLUGIN_NAMESPACE, id))
        and id not in ids_in(root / "unfinished")
        and id not in remote.new_client(PLUGIN_NAMESPACE).containers()
        and not cgroups_of(id)
    )


def fail_to_create(executor: Executor, containerd: Containerd, id: str, spec: dict[str, Any], begun: Path) -> None:
    """Kill containerd, for good, while a create is at work."""
    errors: list[BaseException] = []

    def create() -> None:
        try:
            executor.create(id, spec)
        except PluginExecError as error:
            errors.append(error)

    thread = threading.Thread(target=create, name="pluginexec-test-create")
    thread.start()
    wait_until(begun.exists, "the hook of the create")
    pid = containerd.pid
    assert pid
    containerd.leave()
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert errors


def test_a_create_whose_containerd_was_killed_is_ended_by_the_next_executor(
    mortal: Containerd, new_executor: NewExecutor, root_dir: Path, id: str, shell: Shell, tmp_path: Path
) -> None:
    executor = new_executor(remote=mortal.remote)
    fail_to_create(executor, mortal, id, slow_hook(shell(id, FOREVER), tmp_path), tmp_path / "begun")
    executor.close()
    assert ids_in(root_dir / "unfinished") == [id]
    assert not (root_dir / "containers" / id).exists()  # else it would be a plugin
    mortal.start()
    new_executor(remote=mortal.remote)
    wait_until(lambda: is_ended(mortal.remote, root_dir, id), "the end of its shim")


def test_it_is_left_to_the_executors_of_its_own_containerd(
    mortal: Containerd,
    new_executor: NewExecutor,
    remote: Remote,
    root_dir: Path,
    id: str,
    new_id: Callable[[], str],
    shell: Shell,
    exits: Exits,
    tmp_path: Path,
) -> None:
    executor = new_executor(remote=mortal.remote)
    fail_to_create(executor, mortal, id, slow_hook(shell(id, FOREVER), tmp_path), tmp_path / "begun")
    executor.close()
    other = new_executor(remote=remote)
    other.create(another := new_id(), shell(another, "exit 0"))
    exits.wait_for(1)
    other.close()
    assert ids_in(root_dir / "unfinished") == [id]
    mortal.start()
    # A create of the very id clears what is in its way, and keeps all others from it.
    last = new_executor(remote=mortal.remote)
    last.create(id, shell(id, FOREVER))
    assert ids_in(root_dir / "unfinished") == []
    last._retry_cleanup()
    assert last.is_running(id)
    last.stop(id, timeout=0)
    wait_until(lambda: is_ended(mortal.remote, root_dir, id), "its end")


def test_a_create_that_fails_after_its_start_is_ended_by_the_next_executor(
    new_executor: NewExecutor,
    remote: Remote,
    root_dir: Path,
    id: str,
    shell: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrapper = Wrapper(tmp_path / "bin")
    for command in ("tasks-ls", "containers-ls", "tasks-rm", "containers-rm"):
        wrapper.inject(command, AWAY)
    executor = new_executor(remote=Remote(remote.address, ctr=str(wrapper.path)))
    with monkeypatch.context() as patch:
        patch.setattr(PluginFiles, "read_pid", lambda self: None)
        with pytest.raises(PluginExecError, match="wrote no pid"):
            executor.create(id, shell(id, FOREVER))
    executor.close()
    assert ids_in(root_dir / "unfinished") == [id]
    new_executor(remote=remote)
    wait_until(lambda: is_ended(remote, root_dir, id), "the end of its task")


def test_a_plugin_that_ended_and_could_not_be_deleted_is_deleted_by_the_next_executor(
    new_executor: NewExecutor, remote: Remote, root_dir: Path, id: str, shell: Shell, exits: Exits, tmp_path: Path
) -> None:
    wrapper = Wrapper(tmp_path / "bin")
    wrapper.inject("containers-rm", AWAY)
    executor = new_executor(remote=Remote(remote.address, ctr=str(wrapper.path)))
    executor.create(id, shell(id, "exit 5"))
    assert exits.wait_for(1)[0][1].exit_code == 5
    executor.close()
    assert ids_in(root_dir / "unfinished") == [id]
    later = new_executor(remote=remote)
    wait_until(lambda: is_ended(remote, root_dir, id), "its deletion")
    assert later.exit_status(id).exit_code == 5


def test_a_create_that_takes_too_long_leaves_nothing(
    new_executor: NewExecutor, remote: Remote, root_dir: Path, id: str, shell: Shell, tmp_path: Path
) -> None:
    executor = new_executor(remote=Remote(remote.address, timeout=2.0))
    with pytest.raises(PluginExecError) as caught:
        executor.create(id, slow_hook(shell(id, FOREVER), tmp_path))
    assert not isinstance(caught.value, Unavailable)
    wait_until(lambda: is_ended(remote, root_dir, id), "the end of its shim")
