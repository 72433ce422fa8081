"""One method per operation of containerd.

Real: containerd, ``ctr``, ``runc``, containers. The outputs that the parsers are fed with are those of containerd
1.6.20, 1.7.24 and 2.1.9, and rubbish; a fake ``ctr`` prints the latter.
"""

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
    DELETE_TIMEOUT,
    Client,
    parse_client_version,
    parse_exit_code,
    parse_server_version,
    parse_tasks,
    run_arguments,
)
from pluginexec.containerd.ctr import Completed
from pluginexec.containerd.events import ALL_TOPICS
from pluginexec.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PluginExecError,
    Unavailable,
    Unknown,
)
from pluginexec.streams.shell_logger import NO_LOGGER
from pluginexec.types import Task, TaskState
from tests.support.fakes import fake_command
from tests.support.harness import PATIENCE, our_threads, wait_until

RUNNING, STOPPED = TaskState.RUNNING, TaskState.STOPPED
FOREVER = "exec sleep 1000"

# Command lines.


@pytest.mark.parametrize(
    ("io", "runtime", "arguments"),
    [
        pytest.param(["--null-io"], None, ["--pid-file", "/p", "--null-io"], id="no-logger"),
        pytest.param(["--log-uri", "binary:///x"], None, ["--pid-file", "/p", "--log-uri", "binary:///x"], id="logger"),
        pytest.param(
            ["--null-io"], "/x/crun", ["--runc-binary", "/x/crun", "--pid-file", "/p", "--null-io"], id="runtime"
        ),
        pytest.param([], None, ["--pid-file", "/p"], id="nothing"),
    ],
)
def test_the_arguments_of_run_have_flags_before_the_dashes_and_the_id_after(
    io: list[str], runtime: str | None, arguments: list[str]
) -> None:
    made = run_arguments(
        "a", config=Path("/c d"), runc_root=Path("/r"), pid_file=Path("/p"), io=io, mark="", runtime=runtime
    )  # fmt: skip
    assert made == ["run", "--detach", "--config", "/c d", "--runc-root", "/r", *arguments, "--", "a"]


def test_a_mark_is_a_label() -> None:
    path = Path("/p")
    made = run_arguments("a", config=path, runc_root=path, pid_file=path, io=[], mark="1f", runtime=None)
    assert made[-4:] == ["--label", "pluginexec.start=1f", "--", "a"]


ANSWERS = {"tasks": "TASK PID STATUS\n", "version": "Server:\n  Version: 1\n"}


class Recorder:
    """A runner that runs nothing and remembers."""

    def __init__(self) -> None:
        self.commands: list[tuple[list[str], float]] = []

    def run(self, argv: Any, timeout: float) -> Completed:
        self.commands.append((list(argv), timeout))
        return Completed(tuple(argv), 0, next((ANSWERS[word] for word in argv if word in ANSWERS), ""), "")

    def start(self, argv: Any, *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        raise AssertionError


Operation = Callable[[Client], object]
OPERATIONS: dict[str, tuple[Operation, list[str]]] = {
    "tasks": (lambda client: client.tasks(), ["tasks", "ls"]),
    "containers": (lambda client: client.containers(), ["containers", "ls", "--quiet"]),
    "namespaces": (lambda client: client.namespaces(), ["namespaces", "ls", "--quiet"]),
    "version": (lambda client: client.server_version(), ["version"]),
    "kill": (lambda client: client.kill("a", 9), ["tasks", "kill", "--signal", "9", "--", "a"]),
    "pause": (lambda client: client.pause("a"), ["tasks", "pause", "--", "a"]),
    "resume": (lambda client: client.resume("a"), ["tasks", "resume", "--", "a"]),
    "delete-task": (lambda client: client.delete_task("a"), ["tasks", "rm", "--", "a"]),
    "delete-task-force": (lambda client: client.delete_task("a", force=True), ["tasks", "rm", "--force", "--", "a"]),
    "delete-container": (lambda client: client.delete_container("a"), ["containers", "rm", "--", "a"]),
}  # fmt: skip


@pytest.mark.parametrize(("operate", "arguments"), OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_is_one_command(operate: Operation, arguments: list[str]) -> None:
    runner = Recorder()
    operate(Remote("/s", ctr="ctr", runner=runner).new_client("n"))
    common = ["ctr", "--address", "/s", "--connect-timeout", "2s", "--namespace", "n"]
    assert [argv for argv, _ in runner.commands] == [[*common, *arguments]]


@pytest.mark.parametrize(
    ("timeout", "used"),
    [pytest.param(1.0, DELETE_TIMEOUT, id="too-short"), pytest.param(100.0, 100.0, id="long-enough")],
)
@pytest.mark.parametrize("operation", ["delete-task", "delete-task-force", "delete-container"])
def test_a_deletion_is_never_cut_short(operation: str, timeout: float, used: float) -> None:
    runner = Recorder()
    OPERATIONS[operation][0](Remote("/s", timeout=timeout, runner=runner).new_client("n"))
    assert runner.commands[0][1] == used >= 30.0


def test_the_state_of_each_namespace_is_deleted_from_a_directory_of_its_own() -> None:
    runner = Recorder()
    Remote("/s", runtime="/x/crun", runner=runner).new_client("n").delete_runtime_state("a", Path("/r"))
    assert runner.commands[0][0] == ["/x/crun", "--root", "/r/n", "delete", "--force", "a"]


# Parsers.


@pytest.mark.parametrize(
    ("stdout", "tasks"),
    [
        pytest.param("TASK    PID    STATUS    \n", [], id="none"),
        pytest.param(
            "TASK    PID      STATUS    \nb-1     12345    STOPPED\na.2     7        RUNNING\n",
            [Task("b-1", 12345, STOPPED), Task("a.2", 7, RUNNING)],
            id="two",
        ),
        pytest.param(
            "TASK PID STATUS\na 1 CREATED\nb 2 PAUSED\n",
            [Task("a", 1, TaskState.CREATED), Task("b", 2, TaskState.PAUSED)],
            id="rarer-states",
        ),
        pytest.param("TASK PID STATUS\na 0 UNKNOWN\n", [Task("a", 0, TaskState.UNKNOWN)], id="hung-shim"),
        pytest.param("TASK PID STATUS\na 5 PAUSING\n", [Task("a", 5, TaskState.UNKNOWN)], id="state-of-tomorrow"),
        pytest.param("TASK PID STATUS\nTASK 5 RUNNING\n", [Task("TASK", 5, RUNNING)], id="task-called-task"),
    ],
)
def test_the_list_of_tasks_is_understood(stdout: str, tasks: list[Task]) -> None:
    assert parse_tasks(stdout) == {task.id: task for task in tasks}


@pytest.mark.parametrize(
    "stdout",
    [
        pytest.param("", id="nothing"),
        pytest.param("\n", id="empty-line"),
        pytest.param("a 1 RUNNING\n", id="no-header"),
        pytest.param("NAME:\n   ctr tasks list - list tasks\n", id="help"),
        pytest.param("TASK PID STATUS\na 1\n", id="torn"),
        pytest.param("TASK PID STATUS\na 1 RUNNING x\n", id="field-too-many"),
        pytest.param("TASK PID STATUS\n\n", id="blank-row"),
        pytest.param("TASK PID STATUS\na -1 RUNNING\n", id="negative-pid"),
        pytest.param("TASK PID STATUS\na x RUNNING\n", id="pid-of-letters"),
        pytest.param("TASK PID STATUS\na ² RUNNING\n", id="superscript-pid"),
        pytest.param(f"TASK PID STATUS\na {'9' * 5000} RUNNING\n", id="pid-without-end"),
        pytest.param("TASK PID STATUS\n\ufffd\ufffd\0\n", id="rubbish"),
    ],
)
def test_a_list_of_tasks_that_is_none_is_not_taken_for_an_empty_one(stdout: str) -> None:
    with pytest.raises(Unknown, match="ctr tasks ls printed") as caught:
        parse_tasks(stdout)
    assert len(str(caught.value)) < 300


WARNING = 'time="2026-11-23T13:29:04Z" level=warning msg='


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        pytest.param("", 0, id="silence"),
        pytest.param(f'{WARNING}"task a exit with non-zero exit code 42"\n', 42, id="code"),
        pytest.param(f'{WARNING}"task a exit with non-zero exit code 137"\n', 137, id="killed"),
        pytest.param(
            f'{WARNING}"DEPRECATION: x"\n{WARNING}"task a exit with non-zero exit code 1"\n', 1, id="after-a-warning"
        ),
        pytest.param(f'{WARNING}"DEPRECATION: code 5"\n', 0, id="another-warning"),
        pytest.param("\ufffd\0\n", 0, id="rubbish"),
        pytest.param(f'{WARNING}"task a exit with non-zero exit code 256"\n', None, id="beyond-255"),
        pytest.param(f"exit with non-zero exit code {'9' * 5000}", None, id="ten-thousands-of-digits"),
        pytest.param("exit with non-zero exit code ²", None, id="no-digit"),
        pytest.param("exit with non-zero exit code ", None, id="torn"),
    ],
)
def test_the_exit_code_is_found_among_the_warnings(stderr: str, code: int | None) -> None:
    assert parse_exit_code(stderr) == code


CLIENT_16 = "Client:\n  Version:  1.6.20~ds1\n  Revision: 1.6.20~ds1-1+b1\n  Go version: go1.19.8\n\n"
CLIENT_21 = "Client:\n  Version:  2.1.9\n  Revision:\n  Go version: go1.24\n\n"
SERVER = "Server:\n  Version:  {}\n  Revision: x\n  UUID: 12d5c2ad-5d6f-4d0f-8e46-3b1a3d7b4e5c\n"


@pytest.mark.parametrize(
    ("stdout", "version"),
    [
        pytest.param(CLIENT_16 + SERVER.format("1.6.20~ds1"), "1.6.20~ds1", id="1.6"),
        pytest.param(CLIENT_16 + SERVER.format("1.7.24~ds1"), "1.7.24~ds1", id="1.7-by-1.6"),
        pytest.param(CLIENT_21 + SERVER.format("v2.1.9"), "v2.1.9", id="2.1"),
        pytest.param(
            CLIENT_21 + SERVER.format("1.6.20~ds1") + "\nWARNING: version mismatch\n", "1.6.20~ds1", id="mismatch"
        ),
    ],
)
def test_the_version_is_the_servers(stdout: str, version: str) -> None:
    assert parse_server_version(stdout) == version


@pytest.mark.parametrize(("client", "version"), [(CLIENT_16, "1.6.20~ds1"), (CLIENT_21, "2.1.9")])
def test_the_version_of_ctr_is_the_clients(client: str, version: str) -> None:
    assert parse_client_version(client + SERVER.format("1.7.24~ds1")) == version
    assert parse_client_version(client) == version
    with pytest.raises(Unknown, match="no client version"):
        parse_client_version(SERVER.format("1.7.24~ds1"))


@pytest.mark.parametrize(
    "stdout",
    [
        *("", CLIENT_16, "Server:\n", f"{CLIENT_16}Server:\n  Revision: x\n", "\ufffd\0"),
        *("Server:\n Version: \x1b[2J", "Server:\n Version:\n Revision: x", "Server:" + "\n" * 100_000),
    ],
    ids=lambda stdout: repr(stdout[-20:]),
)
def test_a_version_without_a_servers_is_refused(stdout: str) -> None:
    with pytest.raises(Unknown, match="no server version"):
        parse_server_version(stdout)


# The real containerd.


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


@pytest.mark.parametrize("operation", ["tasks", "version"])
def test_a_ctr_that_talks_rubbish_is_not_believed(operation: str, tmp_path: Path) -> None:
    ctr = fake_command(tmp_path / "ctr", r"printf 'TASK PID STATUS\n\377\376\000 1 2 3\n'")
    with pytest.raises(Unknown) as caught:
        OPERATIONS[operation][0](Remote("/s", ctr=ctr).new_client(PLUGIN_NAMESPACE))
    assert caught.value.operation


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


def test_a_client_delivers_events_from_listen_to_close(
    start: Callable[..., int], remote: Remote, new_id: Callable[[], str]
) -> None:
    heard, first, second = Heard(), new_id(), new_id()
    client = remote.new_client(PLUGIN_NAMESPACE, heard)
    assert not our_threads() & {"pluginexec-events"}
    client.listen()
    try:
        assert heard.connected.wait(PATIENCE)
        pid = start(first, "exit 5", by=client)
        wait_until(lambda: heard.events, "the exit event")
    finally:
        client.close()
    client.close()
    start(second, "exit 5", by=client)
    wait_for_end(client, second)
    assert [(id, kind) for id, kind, _ in heard.events] == [(first, EventType.EXIT)]
    assert (heard.events[0][2].pid, heard.events[0][2].exit_code) == (pid, 5)


def test_all_topics_of_a_task_can_be_listened_for(start: Callable[..., int], remote: Remote, id: str) -> None:
    heard = Heard()
    client = remote.new_client(PLUGIN_NAMESPACE, heard)
    client.listen(ALL_TOPICS)
    try:
        assert heard.connected.wait(PATIENCE)
        start(id, by=client)
        client.pause(id)
        client.resume(id)
        client.delete_task(id, force=True)
        wait_until(lambda: heard.events[-1][1] in (EventType.EXIT, EventType.DELETE), "the exit event")
    finally:
        client.close()
    expected = [EventType.CREATE, EventType.START, EventType.PAUSED, EventType.RESUMED, EventType.EXIT]
    assert [kind for _, kind, _ in heard.events][:5] == expected
    times = [info.told_at for _, _, info in heard.events if info.told_at]
    assert times == sorted(times)
    assert len(times) == len(heard.events)


def test_a_client_without_a_backend_has_nothing_to_listen_for(client: Client) -> None:
    before = our_threads()
    client.listen()
    assert our_threads() == before
    client.distrust_events()
    client.close()
