"""One method per verb of ``ctr``: its arguments, and what is parsed of its output.

The outputs that the parsers are fed with are those of containerd 1.6.20, 1.7.24 and 2.1.9, and rubbish; a fake ``ctr``
prints the latter.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Remote
from pluginexec.containerd.client import (
    DELETE_TIMEOUT,
    Client,
    parse_client_version,
    parse_exit_code,
    parse_server_version,
    parse_tasks,
    run_arguments,
)
from pluginexec.containerd.ctr import Completed, Watch
from pluginexec.errors import (
    Unknown,
)
from pluginexec.types import Task, TaskState
from tests.support.fakes import fake_command

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

    def run(self, argv: Any, timeout: float, watch: Watch = None) -> Completed:
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
    seconds = runner.commands[0][0][2]
    common = ["ctr", "--connect-timeout", seconds, "--address", "/s", "--namespace", "n"]
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
    with pytest.raises(Unknown, match="of ctr tasks ls: ") as caught:
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


@pytest.mark.parametrize("operation", ["tasks", "version"])
def test_a_ctr_that_talks_rubbish_is_not_believed(operation: str, tmp_path: Path) -> None:
    ctr = fake_command(tmp_path / "ctr", r"printf 'TASK PID STATUS\n\377\376\000 1 2 3\n'")
    with pytest.raises(Unknown) as caught:
        OPERATIONS[operation][0](Remote("/s", ctr=ctr).new_client(PLUGIN_NAMESPACE))
    assert caught.value.operation
