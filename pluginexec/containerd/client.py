"""One method per containerd operation in one namespace, each one ``ctr`` command.

The functions that build the arguments are pure; flags stand before ``--`` and ids after it, because ``ctr`` 2.1
takes flags behind an id for further ids.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pluginexec.cleanup.inflight import InFlightCommands
from pluginexec.cleanup.shims import end_shim
from pluginexec.containerd.ctr import Completed, Ctr, run_command, uninterrupted
from pluginexec.containerd.events import ENDINGS, Backend, EventStream
from pluginexec.containerd.versions import warn_if_untried
from pluginexec.errors import Unknown
from pluginexec.types import Task, TaskState

log = logging.getLogger(__name__)

DELETE_TIMEOUT = 60.0
"""Least seconds for a deletion: the shim may wait 12 s for a logger, and one that is cut short leaks the shim."""
VERSION_TIMEOUT = 2.0
"""Seconds for the question which versions these are; containerd needs 15 ms, and a warning is worth no more."""

_MARK = "pluginexec.start"
# ctr tells the exit code of a task that it deletes in a warning, and only if it is not 0.
_EXIT_CODE = re.compile(r"exit with non-zero exit code ([0-9]{1,3}\b)?")
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

    def listen(self, topics: str = ENDINGS) -> None:
        """Start to deliver containerd's events of these topics to the backend, until ``close``."""
        if self._backend and self._events is None:
            self._events = EventStream(self._ctr, self._backend, topics)

    def close(self) -> None:
        """Stop the delivery of events; the commands go on working."""
        if self._events:
            self._events.close()

    def distrust_events(self) -> None:
        """Have the stream of events started anew: it missed one."""
        if self._events:
            self._events.distrust()

    def run(self, id: str, *, config: Path, runc_root: Path, pid_file: Path, io: Sequence[str], mark: str = "") -> None:
        """Create and start a container in the background; a failure may leave it behind, half made.

        ``mark``: by this, of letters and digits, ``is_unmarked`` knows it again.
        """
        arguments = run_arguments(
            id, config=config, runc_root=runc_root, pid_file=pid_file, io=io, mark=mark, runtime=self._runtime
        )
        self._ctr.run(*arguments, operation="run", id=id)

    def is_unmarked(self, id: str, *marks: str) -> bool:
        """Tell whether there is a container of this id that was not created with one of these marks."""
        other = ",".join([f"id=={id}", *(f'labels."{_MARK}"!={mark}' for mark in marks)])
        return bool(self._ctr.run("containers", "ls", "--quiet", other, operation="list containers").stdout.split())

    def tasks(self) -> dict[str, Task]:
        """List the tasks by id; one whose shim hangs costs containerd 2 s, and shows as ``UNKNOWN``."""
        return parse_tasks(self._ctr.run("tasks", "ls", operation="list tasks").stdout)

    def containers(self) -> list[str]:
        """List the ids of the containers."""
        return self._ctr.run("containers", "ls", "--quiet", operation="list containers").stdout.split()

    def kill(self, id: str, signal: int) -> None:
        """Send a signal to the init process; ``NotFound`` if it has ended."""
        self._ctr.run("tasks", "kill", "--signal", str(int(signal)), "--", id, operation="signal", id=id)

    def pause(self, id: str) -> None:
        """Freeze all processes of a container; ``FailedPrecondition`` if they are frozen, or have ended."""
        self._ctr.run("tasks", "pause", "--", id, operation="pause", id=id)

    def resume(self, id: str) -> None:
        """Let the processes of a container go on; ``FailedPrecondition`` if they are not frozen."""
        self._ctr.run("tasks", "resume", "--", id, operation="unpause", id=id)

    def delete_task(self, id: str, *, force: bool = False) -> int | None:
        """Delete a stopped task and return its exit code, ``None`` if it was not told; ``force`` kills it first."""
        flags = ["--force"] if force else []
        completed = self._delete("tasks", "rm", *flags, "--", id, operation="delete task", id=id)
        return parse_exit_code(completed.stderr)

    def delete_container(self, id: str) -> None:
        """Delete a container, and its task if that is stopped; ``FailedPrecondition`` if the task is not."""
        self._delete("containers", "rm", "--", id, operation="delete container", id=id)

    def delete_runtime_state(self, id: str, runc_root: Path) -> None:
        """Make the OCI runtime forget (and kill) a container that containerd knows nothing of."""
        argv = [self._runtime or "runc", *self._runtime_flags(runc_root), "delete", "--force", id]
        run_command(self._ctr.runner, argv, self._ctr.timeout, operation="delete runtime state", id=id)

    def end_shim(self, id: str) -> bool:
        """SIGKILL the shim of a task that containerd does not know, if there is one; tell whether there was."""
        return end_shim(id, self._ctr.namespace, self._ctr.address)

    def find_in_flight(self, runc_root: Path) -> InFlightCommands:
        """Find what executors that were killed had started to change in this namespace, and still goes on."""
        return InFlightCommands(self._ctr.argv()[1:], self._runtime_flags(runc_root))

    def _runtime_flags(self, runc_root: Path) -> list[str]:
        # containerd's shim keeps the state of each namespace in a directory of its own.
        return ["--root", str(runc_root / self.namespace)]

    def namespaces(self) -> list[str]:
        """List all namespaces of this containerd."""
        return self._ctr.run("namespaces", "ls", "--quiet", operation="list namespaces").stdout.split()

    def delete_namespace(self) -> None:
        """Delete the namespace, if there is one; ``FailedPrecondition`` while something is in it."""
        self._ctr.run("namespaces", "rm", "--", self.namespace, operation="delete namespace", id=self.namespace)

    def server_version(self) -> str:
        """Return containerd's version, such as ``1.6.20~ds1``; the cheapest proof that it answers."""
        return parse_server_version(self._ctr.run("version", operation="ask for the version").stdout)

    def check_versions(self) -> None:
        """Log a warning, once for each version, where containerd or ``ctr`` is of a series that was never tried.

        Raises nothing: that they cannot be asked now is told by whatever else is asked of them.
        """
        timeout = min(self._ctr.timeout, VERSION_TIMEOUT)
        try:
            stdout = self._ctr.run("version", operation="ask for the version", timeout=timeout).stdout
            warn_if_untried("containerd", parse_server_version(stdout))
            warn_if_untried("ctr", parse_client_version(stdout))
        except Exception as error:
            log.debug("the versions are not known: %s", error)

    def _delete(self, *arguments: str, operation: str, id: str) -> Completed:
        # Nor may a Ctrl-C cut it short: that would leak the shim, and the id would stay taken.
        timeout = max(self._ctr.timeout, DELETE_TIMEOUT)
        return uninterrupted(lambda: self._ctr.run(*arguments, operation=operation, id=id, timeout=timeout))


def run_arguments(
    id: str, *, config: Path, runc_root: Path, pid_file: Path, io: Iterable[str], mark: str, runtime: str | None
) -> list[str]:
    """Return the arguments of ``ctr run`` for a container in the background."""
    runc_binary = ["--runc-binary", runtime] if runtime else []
    label = ["--label", f"{_MARK}={mark}"] if mark else []
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
        *label,
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


def parse_exit_code(stderr: str) -> int | None:
    """Parse what ``ctr tasks rm`` prints: the exit code, 0 if it prints none; ``None`` if what it prints is no code."""
    found = _EXIT_CODE.search(stderr)
    if not found:
        return 0
    return int(found[1]) if found[1] and int(found[1]) <= 255 else None


def parse_server_version(stdout: str) -> str:
    """Parse ``ctr version``: a block for the client, then one for the server."""
    return _parse_version("server", stdout.partition("Server:")[2])


def parse_client_version(stdout: str) -> str:
    """Parse ``ctr version`` for the version of ``ctr`` itself."""
    return _parse_version("client", stdout.partition("Server:")[0])


def _parse_version(whose: str, block: str) -> str:
    # No "\s" here: it takes newlines too, and a thousand of those would be tried a million times.
    found = re.search(r"^[ \t]*Version:[ \t]*([!-~]+)", block, re.MULTILINE)
    if not found:
        raise Unknown(f"ctr version named no {whose} version", operation="ask for the version")
    return found[1]
