"""One method per containerd operation in one namespace, each one ``ctr`` command.

The functions that build the arguments are pure; flags stand before ``--`` and ids after it, because ``ctr`` 2 takes
flags behind an id for further ids.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from pluginexec.ctr import Completed, Ctr, run_command
from pluginexec.errors import Unknown
from pluginexec.events import Backend, EventStream
from pluginexec.types import Task, TaskState

DELETE_TIMEOUT = 60.0
"""Least seconds for a deletion: the shim may wait 12 s for a logger, and one that is cut short leaks the shim."""

# ctr tells the exit code of a task that it deletes in a warning, and only if it is not 0.
_EXIT_CODE = re.compile(r"exit with non-zero exit code (\d+)")
_TASKS_HEADER = ["TASK", "PID", "STATUS"]
_TASKS_ROW = re.compile(r"(\S+)\s+([0-9]{1,10})\s+(\S+)\s*")


class Client:
    """containerd, in one namespace.

    Every method raises the error tree: ``Unavailable`` when containerd cannot be reached, ``DeadlineExceeded`` when
    there was no answer in time, and what its own line says.
    """

    def __init__(self, ctr: Ctr, *, runtime: str | None = None, backend: Backend | None = None) -> None:
        self._ctr = ctr
        self._runtime = runtime
        self._backend = backend
        self._events: EventStream | None = None

    @property
    def namespace(self) -> str:
        """The namespace that every method works in."""
        return self._ctr.namespace

    def listen(self) -> None:
        """Start to deliver containerd's events to the backend, until ``close``."""
        if self._backend and self._events is None:
            self._events = EventStream(self._ctr, self._backend)

    def close(self) -> None:
        """Stop the delivery of events; the commands go on working."""
        if self._events:
            self._events.close()

    def distrust_events(self) -> None:
        """Have the stream of events started anew: it missed one."""
        if self._events:
            self._events.distrust()

    def run(self, id: str, *, config: Path, runc_root: Path, pid_file: Path, io: Sequence[str]) -> None:
        """Create and start a container in the background; a failure may leave it behind, half made."""
        arguments = run_arguments(
            id, config=config, runc_root=runc_root, pid_file=pid_file, io=io, runtime=self._runtime
        )
        self._ctr.run(*arguments, operation="run", id=id)

    def tasks(self) -> dict[str, Task]:
        """List the tasks by id; one whose shim hangs costs containerd 2 s, and shows as ``UNKNOWN``."""
        return parse_tasks(self._ctr.run("tasks", "ls", operation="list tasks").stdout)

    def containers(self) -> list[str]:
        """List the ids of the containers."""
        return self._ctr.run("containers", "ls", "--quiet", operation="list containers").stdout.split()

    def kill(self, id: str, signal: int) -> None:
        """Send a signal to the init process; ``NotFound`` if it has ended."""
        self._ctr.run("tasks", "kill", "--signal", str(int(signal)), "--", id, operation="signal", id=id)

    def delete_task(self, id: str, *, force: bool = False) -> int:
        """Delete a stopped task and return its exit code; ``force`` kills it first."""
        flags = ["--force"] if force else []
        completed = self._delete("tasks", "rm", *flags, "--", id, operation="delete task", id=id)
        return parse_exit_code(completed.stderr)

    def delete_container(self, id: str) -> None:
        """Delete a container, and its task if that is stopped; ``FailedPrecondition`` if the task is not."""
        self._delete("containers", "rm", "--", id, operation="delete container", id=id)

    def delete_runtime_state(self, id: str, runc_root: Path) -> None:
        """Make the OCI runtime forget (and kill) a container that containerd knows nothing of."""
        # containerd's shim keeps the state of each namespace in a directory of its own.
        root = runc_root / self.namespace
        argv = [self._runtime or "runc", "--root", str(root), "delete", "--force", id]
        run_command(self._ctr.runner, argv, self._ctr.timeout, operation="delete runtime state", id=id)

    def attach(self, id: str) -> subprocess.Popen[bytes]:
        """Start relaying the streams of a task through pipes.

        The process forwards every signal but SIGKILL to the task, and deletes the task when that ends. It is killed
        when the calling thread ends.
        """
        return self._ctr.start("tasks", "attach", "--", id, separate_stderr=True)

    def namespaces(self) -> list[str]:
        """List all namespaces of this containerd."""
        return self._ctr.run("namespaces", "ls", "--quiet", operation="list namespaces").stdout.split()

    def server_version(self) -> str:
        """Return containerd's version, such as ``1.6.20~ds1``; the cheapest proof that it answers."""
        return parse_server_version(self._ctr.run("version", operation="ask for the version").stdout)

    def _delete(self, *arguments: str, operation: str, id: str) -> Completed:
        return self._ctr.run(*arguments, operation=operation, id=id, timeout=max(self._ctr.timeout, DELETE_TIMEOUT))


def run_arguments(
    id: str, *, config: Path, runc_root: Path, pid_file: Path, io: Iterable[str], runtime: str | None
) -> list[str]:
    """Return the arguments of ``ctr run`` for a container in the background."""
    runc_binary = ["--runc-binary", runtime] if runtime else []
    return [
        "run",
        "--detach",
        "--config",
        str(config),
        "--runc-root",
        str(runc_root),
        *runc_binary,
        "--pid-file",
        str(pid_file),
        *io,
        "--",
        id,
    ]


def parse_tasks(stdout: str) -> dict[str, Task]:
    """Parse ``ctr tasks ls``: a header, then ``ID PID STATUS`` in any order."""
    header, *rows = stdout.splitlines() or [""]
    # Whoever is not listed counts as ended: an answer that is no list must not pass for an empty one.
    if header.split() != _TASKS_HEADER:
        raise Unknown(f"ctr tasks ls printed no list: {header[:100]!r}", operation="list tasks")
    tasks = {}
    for line in rows:
        row = _TASKS_ROW.fullmatch(line)
        if not row:
            raise Unknown(f"ctr tasks ls printed a line that is not understood: {line[:100]!r}", operation="list tasks")
        id, pid, state = row.groups()
        known = state in TaskState.__members__
        tasks[id] = Task(id, int(pid), TaskState(state) if known else TaskState.UNKNOWN)
    return tasks


def parse_exit_code(stderr: str) -> int:
    """Parse what ``ctr tasks rm`` prints: the exit code, 0 if it prints none."""
    found = _EXIT_CODE.search(stderr)
    return int(found[1]) if found else 0


def parse_server_version(stdout: str) -> str:
    """Parse ``ctr version``: a block for the client, then one for the server."""
    _, _, server = stdout.partition("Server:")
    found = re.search(r"^\s*Version:\s*(\S+)", server, re.MULTILINE)
    if not found:
        raise Unknown("ctr version named no server version", operation="ask for the version")
    return found[1]
