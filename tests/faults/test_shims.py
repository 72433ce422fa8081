"""A shim that hangs is no plugin that has ended.

Real: containerd, the plugins, and their shims, which are stopped (SIGSTOP). Up to containerd 2.2 a task whose shim
gives no answer is listed as UNKNOWN; 2.3 leaves it out. So each test runs on what runs here, and behind a ``ctr`` that
leaves the line out as well.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import AlreadyExists, Containerd, Executor, Remote, Unavailable
from pluginexec.cleanup import shims as shims_module
from pluginexec.containerd import client as client_module
from pluginexec.containerd.client import Client
from pluginexec.executor import lifecycle as lifecycle_module
from pluginexec.types import TaskState
from tests.support.harness import Exits, lives, suspend, wait_until
from tests.support.plugins import Plugins, command_line
from tests.support.serving import ServeProcess
from tests.support.wrapper import Wrapper

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]
FOREVER = "exec sleep 1000"
LEAVES_IT_OUT = '"$here/real" "$@" | grep -v UNKNOWN; exit 0'


@pytest.fixture(params=["as it is here", "as in 2.3"])
def wrapper(request: pytest.FixtureRequest, tmp_path: Path) -> Wrapper:
    """A ``ctr``."""
    wrapper = Wrapper(tmp_path / "bin")
    if request.param == "as in 2.3":
        wrapper.inject("tasks-ls", LEAVES_IT_OUT)
    return wrapper


@pytest.fixture
def wrapped(wrapper: Wrapper, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """The containerd, by that ``ctr``; a task whose shim hangs is waited for but briefly."""
    monkeypatch.setattr(client_module, "_ASK_TIMEOUT", 1.0)
    monkeypatch.setattr(lifecycle_module, "SETTLE_TIMEOUT", 0.1)
    return Remote(remote.address, ctr=str(wrapper.path))


@pytest.fixture
def hang() -> Iterator[Callable[[int], psutil.Process]]:
    """Stop the shim of a process, which goes on at the end."""
    stopped: list[psutil.Process] = []

    def stop(pid: int) -> psutil.Process:
        shim = psutil.Process(pid).parent()
        assert shim
        assert "shim" in shim.name()
        stopped.append(suspend(shim))
        return shim

    yield stop
    for shim in stopped:
        if shim.is_running():
            shim.resume()


Hang = Callable[[int], psutil.Process]


def test_restore_does_not_take_its_plugin_for_ended(
    new_executor: NewExecutor, wrapped: Remote, hang: Hang, id: str, shell: Shell
) -> None:
    first = new_executor(remote=wrapped)
    first.create(id, shell(id, FOREVER))
    pid = first.pid(id)
    first.close()
    shim = hang(pid)
    executor = new_executor(remote=wrapped)
    with pytest.raises(Unavailable, match="its shim does not answer containerd"):
        executor.restore(id)
    shim.resume()
    assert executor.restore(id)
    assert executor.pid(id) == pid
    executor.stop(id, timeout=0)


@pytest.mark.parametrize("ours", [True, False], ids=["with files", "without files"])
def test_create_leaves_the_plugin_of_that_id_alone(
    new_executor: NewExecutor,
    wrapped: Remote,
    hang: Hang,
    client: Client,
    id: str,
    shell: Shell,
    tmp_path: Path,
    ours: bool,
) -> None:
    first = new_executor(remote=wrapped)
    first.create(id, shell(id, FOREVER))
    pid = first.pid(id)
    first.close()
    shim = hang(pid)
    executor = new_executor(remote=wrapped, **({} if ours else {"root": tmp_path / "other"}))
    with pytest.raises(AlreadyExists, match="a container of this id is unknown"):
        executor.create(id, shell(id, "exit 3"))
    shim.resume()
    wait_until(lambda: client.tasks()[id].state is TaskState.RUNNING, "its shim's answer")
    assert client.tasks()[id].pid == pid


def test_create_does_not_end_a_live_task_whose_container_was_deleted(
    new_executor: NewExecutor, remote: Remote, hang: Hang, wrapper: Wrapper, client: Client, id: str, shell: Shell
) -> None:
    first = new_executor(remote=remote)
    first.create(id, shell(id, FOREVER))
    pid = first.pid(id)
    first.close()
    # 2.3 deletes it where the shim hangs. Here the start only says what it would say, and the container is as if it had
    # made it.
    wrapper.inject(
        "run",
        f"""for word; do case $word in pluginexec.start=*) mark=$word ;; esac; done
        "$here/real" "$1" "$2" "$3" "$4" "$5" "$6" containers label {id} "$mark" >/dev/null
        echo "ctr: task {id}: already exists" >&2; exit 1""",
    )
    first.root_dir.joinpath("containers", id, "config.json").unlink()
    executor = new_executor(remote=Remote(remote.address, ctr=str(wrapper.path)))
    with pytest.raises(AlreadyExists, match="already exists"):
        executor.create(id, shell(id, "exit 3"))
    assert client.tasks()[id].pid == pid


def test_a_deletion_that_took_so_long_ends_the_shim_too(
    new_executor: NewExecutor,
    remote: Remote,
    tmp_path: Path,
    exits: Exits,
    id: str,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle_module, "HUNG_SHIM", 0.0)
    monkeypatch.setattr(shims_module, "_ENDS_WITHIN", 0.0)
    wrapper = Wrapper(tmp_path / "bin")
    wrapper.inject("containers-rm", "exit 0")  # what 2.3 does for the task of a shim that hangs
    executor = new_executor(remote=Remote(remote.address, ctr=str(wrapper.path)))
    executor.create(id, shell(id, FOREVER))
    shim = psutil.Process(executor.pid(id)).parent()
    assert shim
    os.kill(executor.pid(id), signal.SIGKILL)
    assert exits.wait_for(1)[0][1].exit_code == 137
    wait_until(lambda: not lives(shim), "the end of its shim")


def test_a_plugin_that_ends_meanwhile_has_its_code_and_its_id_is_free(
    new_executor: NewExecutor,
    wrapped: Remote,
    hang: Hang,
    client: Client,
    exits: Exits,
    id: str,
    shell: Shell,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "pluginexec.executor")
    executor = new_executor(remote=wrapped)
    executor.create(id, shell(id, FOREVER))
    pid = executor.pid(id)
    shim = hang(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: f"{id}: the process has ended, but for" in caplog.text, "a reconciliation that settles nothing")
    assert exits.ids == []
    shim.resume()
    assert exits.wait_for(1)[0][1].exit_code == 137
    assert id not in client.containers()
    executor.create(id, shell(id, "exit 3"))
    assert exits.wait_for(2)[1][1].exit_code == 3


def test_serve_tries_again_and_takes_it_over(
    wrapper: Wrapper, plugins: Plugins, containerd: Containerd, root_dir: Path, tmp_path: Path, hang: Hang
) -> None:
    id = plugins.run(restart="always")
    state = plugins.records.state(id)
    shim = hang(state.pid)
    argv = command_line(root_dir, containerd.address, "serve", "--live-restore")
    serve = ServeProcess(argv, tmp_path / "log", PATH=f"{wrapper.directory}:{os.environ['PATH']}")
    try:
        serve.await_line("its shim does not answer containerd; trying again")
        shim.resume()
        serve.await_line(f"{id}: taken over (pid {state.pid})")
        assert not any("had ended" in line for line in serve.logged)
    finally:
        serve.end(signal.SIGKILL)
