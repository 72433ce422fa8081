"""One method per verb of ``ctr``. Real: containerd, ``ctr``, ``runc``, containers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import PLUGIN_NAMESPACE, EventInfo, EventType, Remote
from pluginexec.containerd.client import (
    Client,
)
from pluginexec.containerd.events import ALL_TOPICS, EventStream
from pluginexec.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PluginExecError,
    Unavailable,
)
from pluginexec.streams.shell_logger import NO_LOGGER
from pluginexec.types import Task, TaskState
from tests.support.fakes import fake_command
from tests.support.harness import PATIENCE, our_threads, wait_until
from tests.unit.containerd.test_client import OPERATIONS

RUNNING, STOPPED = TaskState.RUNNING, TaskState.STOPPED
FOREVER = "exec sleep 1000"


@pytest.fixture
def start(
    clean_namespace: None, client: Client, root_dir: Path, shell: Callable[..., dict[str, Any]]
) -> Callable[..., int]:
    """Run a container with the client alone; return the pid of its init process."""

    def run(
        id: str, script: str = FOREVER, *, by: Client = client, io: Sequence[str] = NO_LOGGER, mark: str = ""
    ) -> int:
        files = root_dir / f"with space, 'é' {id}"
        files.mkdir(exist_ok=True)
        (files / "config.json").write_text(json.dumps(shell(id, script)))
        config, pid_file = files / "config.json", files / "pid"
        by.run(id, config=config, runc_root=root_dir / "runc", pid_file=pid_file, io=io, mark=mark)
        return int((files / "pid").read_text())

    return run


def wait_for_end(client: Client, id: str) -> None:
    wait_until(lambda: client.tasks()[id].state is STOPPED, f"the end of {id}")


def test_a_container_that_runs_is_listed_with_its_pid(
    start: Callable[..., int], client: Client, root_dir: Path, new_id: Callable[[], str]
) -> None:
    ids = [new_id(), new_id()]
    pids = [start(id) for id in ids]
    assert client.tasks() == {id: Task(id, pid, RUNNING) for id, pid in zip(ids, pids, strict=True)}
    assert sorted(client.containers()) == sorted(ids)
    assert (root_dir / "runc" / PLUGIN_NAMESPACE / ids[0] / "state.json").exists()
    assert psutil.Process(pids[0]).cmdline() == ["sleep", "1000"]


def test_an_id_that_is_taken_already_exists(start: Callable[..., int], client: Client, id: str) -> None:
    pid = start(id)
    with pytest.raises(AlreadyExists) as caught:
        start(id)
    assert (caught.value.operation, caught.value.id) == ("run", id)
    assert client.tasks()[id] == Task(id, pid, RUNNING)


def test_a_container_is_known_again_by_its_mark(start: Callable[..., int], client: Client, id: str) -> None:
    assert not client.is_unmarked(id, "1f")
    start(id, mark="1f")
    assert not client.is_unmarked(id, "1f")
    assert not client.is_unmarked(id, "2e", "1f")
    assert client.is_unmarked(id, "2e")
    assert client.is_unmarked(id, "2e", "3d")


def test_a_container_without_a_mark_is_none_of_ours(start: Callable[..., int], client: Client, id: str) -> None:
    start(id)
    assert client.is_unmarked(id, "1f")


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_comes_back_with_the_deletion_of_the_task(
    start: Callable[..., int], client: Client, id: str, code: int
) -> None:
    start(id, f"exit {code}")
    wait_for_end(client, id)
    assert client.delete_task(id) == code
    assert client.tasks() == {}
    assert client.containers() == [id]


@pytest.mark.parametrize("number", [9, 15])
def test_a_signal_ends_a_container_with_its_code(
    start: Callable[..., int], client: Client, id: str, number: int
) -> None:
    start(id, "trap 'exit 143' TERM; while :; do sleep 0.01; done")
    client.kill(id, number)
    wait_for_end(client, id)
    assert client.delete_task(id) == 128 + number


def test_a_forced_deletion_kills_first(start: Callable[..., int], client: Client, id: str) -> None:
    pid = start(id)
    assert client.delete_task(id, force=True) == 137
    assert not psutil.pid_exists(pid)


def test_a_container_is_deleted_with_its_stopped_task(start: Callable[..., int], client: Client, id: str) -> None:
    start(id, "exit 3")
    wait_for_end(client, id)
    client.delete_container(id)
    assert client.tasks() == {}
    assert client.containers() == []


@pytest.mark.parametrize("operation", ["delete_task", "delete_container"])
def test_what_runs_is_not_deleted(start: Callable[..., int], client: Client, id: str, operation: str) -> None:
    pid = start(id)
    with pytest.raises(FailedPrecondition) as caught:
        getattr(client, operation)(id)
    assert caught.value.id == id
    assert client.tasks()[id] == Task(id, pid, RUNNING)


@pytest.mark.parametrize(
    "operate",
    [
        pytest.param(lambda client, id: client.kill(id, 15), id="kill"),
        pytest.param(lambda client, id: client.pause(id), id="pause"),
        pytest.param(lambda client, id: client.resume(id), id="resume"),
        pytest.param(lambda client, id: client.delete_task(id), id="delete-task"),
        pytest.param(lambda client, id: client.delete_task(id, force=True), id="delete-task-force"),
        pytest.param(lambda client, id: client.delete_container(id), id="delete-container"),
    ],
)
def test_what_is_not_there_is_not_found(operate: Callable[[Client, str], object], client: Client, id: str) -> None:
    with pytest.raises(NotFound) as caught:
        operate(client, id)
    assert caught.value.id == id


def test_a_container_is_paused_once_and_resumed_once(start: Callable[..., int], client: Client, id: str) -> None:
    pid = start(id)
    client.pause(id)
    assert client.tasks()[id] == Task(id, pid, TaskState.PAUSED)
    with pytest.raises(FailedPrecondition):
        client.pause(id)
    client.resume(id)
    assert client.tasks()[id] == Task(id, pid, RUNNING)
    with pytest.raises(FailedPrecondition):
        client.resume(id)


@pytest.mark.parametrize("operation", ["pause", "resume"])
def test_an_ended_task_is_neither_paused_nor_resumed(
    start: Callable[..., int], client: Client, id: str, operation: str
) -> None:
    start(id, "exit 0")
    wait_for_end(client, id)
    with pytest.raises(FailedPrecondition):
        getattr(client, operation)(id)


def test_an_ended_task_cannot_be_signalled(start: Callable[..., int], client: Client, id: str) -> None:
    start(id, "exit 0")
    wait_for_end(client, id)
    with pytest.raises(NotFound):
        client.kill(id, 15)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"process": {"args": ["no-such-command"]}}, InvalidArgument, id="executable-missing"),
        pytest.param({"process": {"args": ["/etc"]}}, InvalidArgument, id="directory-as-executable"),
        pytest.param({"root": {"path": "/no/such/root"}}, InvalidArgument, id="root-missing"),
        pytest.param("not JSON", InvalidArgument, id="not-json"),
        pytest.param(None, InvalidArgument, id="no-file"),
    ],
)
def test_a_spec_that_cannot_run_is_an_invalid_argument(
    clean_namespace: None,
    client: Client,
    id: str,
    root_dir: Path,
    shell: Callable[..., dict[str, Any]],
    change: dict[str, dict[str, Any]] | str | None,
    kind: type[PluginExecError],
) -> None:
    config = root_dir / "config.json"
    if isinstance(change, dict):
        spec = shell(id, "exit 0")
        config.write_text(json.dumps(spec | {key: spec[key] | value for key, value in change.items()}))
    elif change is not None:
        config.write_text(change)
    with pytest.raises(kind) as caught:
        client.run(id, config=config, runc_root=root_dir, pid_file=root_dir / "pid", io=NO_LOGGER)
    assert (caught.value.operation, caught.value.id) == ("run", id)


@pytest.mark.parametrize("runtime", ["/no/such/runc", "no-such-runc", "/etc"])
def test_a_runtime_that_cannot_be_run_is_a_failed_precondition(
    start: Callable[..., int], remote: Remote, id: str, runtime: str
) -> None:
    by = Remote(remote.address, ctr=remote.ctr, runtime=runtime).new_client(PLUGIN_NAMESPACE)
    with pytest.raises(FailedPrecondition) as caught:
        start(id, by=by)
    assert "apt-get install" in str(caught.value.hint)


def test_the_runtime_that_is_asked_for_is_used(start: Callable[..., int], remote: Remote, id: str) -> None:
    wrapper = Path(remote.address).parent / "runc-wrapper"
    runc = shutil.which("runc")
    fake_command(wrapper, f'echo "$@" >>$here/runc-wrapper.log; exec {runc} "$@"')
    start(id, by=Remote(remote.address, ctr=remote.ctr, runtime=str(wrapper)).new_client(PLUGIN_NAMESPACE))
    assert f" {id}\n" in wrapper.with_suffix(".log").read_text()


def test_state_that_containerd_has_forgotten_is_deleted_with_its_process(
    client: Client, id: str, root_dir: Path, shell: Callable[..., dict[str, Any]]
) -> None:
    bundle = root_dir / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(shell(id, FOREVER)))
    command = ["runc", "--root", str(root_dir / "runc" / PLUGIN_NAMESPACE), "run", "--detach", "--bundle", str(bundle)]
    null = subprocess.DEVNULL
    subprocess.run([*command, "--pid-file", str(bundle / "pid"), id], check=True, stdin=null, stdout=null, stderr=null)
    pid = int((bundle / "pid").read_text())
    client.delete_runtime_state(id, root_dir / "runc")
    wait_until(lambda: not psutil.pid_exists(pid), "the end of the process")
    assert not (root_dir / "runc" / PLUGIN_NAMESPACE / id).exists()


def test_the_deletion_of_state_that_is_not_there_says_nothing(client: Client, id: str, root_dir: Path) -> None:
    client.delete_runtime_state(id, root_dir)


def test_a_runtime_that_is_missing_is_a_failed_precondition_for_its_state_too(
    remote: Remote, id: str, root_dir: Path
) -> None:
    client = Remote(remote.address, runtime="/no/such/runc").new_client(PLUGIN_NAMESPACE)
    with pytest.raises(FailedPrecondition) as caught:
        client.delete_runtime_state(id, root_dir)
    assert caught.value.id == id


def test_namespaces_are_told_apart(start: Callable[..., int], remote: Remote, client: Client, id: str) -> None:
    start(id)
    other = remote.new_client("another")
    assert (client.namespace, other.namespace) == (PLUGIN_NAMESPACE, "another")
    assert PLUGIN_NAMESPACE in client.namespaces()
    assert other.tasks() == {}
    assert other.containers() == []


def test_the_version_is_that_of_the_containerd_that_runs(client: Client) -> None:
    installed = subprocess.run(["containerd", "--version"], check=True, capture_output=True, text=True).stdout
    assert client.server_version() in installed.split()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_containerd_that_is_gone_is_unavailable_to_every_operation(operation: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    with pytest.raises(Unavailable) as caught:
        OPERATIONS[operation][0](Remote(str(tmp_path / "s")).new_client(PLUGIN_NAMESPACE))
    assert caught.value.operation
    assert caught.value.hint


# Events.


class Heard:
    """A backend that remembers."""

    def __init__(self) -> None:
        self.connected = threading.Event()
        self.events: list[tuple[str, EventType, EventInfo]] = []

    def process_event(self, id: str, event_type: EventType, event_info: EventInfo) -> None:
        self.events.append((id, event_type, event_info))

    def events_connected(self) -> None:
        self.connected.set()


def test_a_stream_delivers_events_until_it_is_closed(
    start: Callable[..., int], remote: Remote, new_id: Callable[[], str]
) -> None:
    heard, first, second = Heard(), new_id(), new_id()
    client = remote.new_client(PLUGIN_NAMESPACE)
    assert not our_threads() & {"pluginexec-events"}
    stream = EventStream(client.ctr, heard)
    try:
        assert heard.connected.wait(PATIENCE)
        pid = start(first, "exit 5", by=client)
        wait_until(lambda: heard.events, "the exit event")
    finally:
        stream.close()
    stream.close()
    start(second, "exit 5", by=client)
    wait_for_end(client, second)
    assert [(id, type) for id, type, _ in heard.events] == [(first, EventType.EXIT)]
    assert (heard.events[0][2].pid, heard.events[0][2].exit_code) == (pid, 5)


def test_all_topics_of_a_task_can_be_listened_for(start: Callable[..., int], remote: Remote, id: str) -> None:
    heard = Heard()
    client = remote.new_client(PLUGIN_NAMESPACE)
    stream = EventStream(client.ctr, heard, ALL_TOPICS)
    try:
        assert heard.connected.wait(PATIENCE)
        start(id, by=client)
        client.pause(id)
        client.resume(id)
        client.delete_task(id, force=True)
        wait_until(lambda: heard.events[-1][1] in (EventType.EXIT, EventType.DELETE), "the exit event")
    finally:
        stream.close()
    expected = [EventType.CREATE, EventType.START, EventType.PAUSED, EventType.RESUMED, EventType.EXIT]
    assert [type for _, type, _ in heard.events][:5] == expected
    times = [info.told_at for _, _, info in heard.events if info.told_at]
    assert times == sorted(times)
    assert len(times) == len(heard.events)
