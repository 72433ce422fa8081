"""One method per verb of ``ctr``, in one namespace of containerd; each is one command.

The functions that build the arguments are pure; flags stand before ``--`` and ids after it, because ``ctr`` 2.1
takes flags behind an id for further ids.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pluginexec.containerd.ctr import Completed, Ctr, Watch, run_command, uninterrupted
from pluginexec.containerd.versions import warn_if_untested
from pluginexec.errors import NotFound, PluginExecError, Unknown
from pluginexec.oci.default_spec import DEFAULT_CAPABILITIES
from pluginexec.oci.json_reader import parse_object
from pluginexec.types import Task, TaskState

log = logging.getLogger(__name__)

DELETE_TIMEOUT = 60.0
"""Least seconds for a deletion: the shim may wait 12 s for a logger, and one that is cut short leaks the shim."""
VERSION_TIMEOUT = 2.0
"""Seconds for ``ctr version`` where it is only for a warning; containerd needs 15 ms."""

HUNG_SHIM = 1.5
"""Seconds from which on a command may have met a shim that hangs: containerd waits 2 s for the answer of each."""
_ASK_TIMEOUT = 5.0
"""Seconds to ask for one task whose shim may hang."""

_MARK = "pluginexec.start"
# ctr prints the exit code of a task that it deletes as a warning, and only if it is not 0.
_EXIT_CODE = re.compile(r"exit with non-zero exit code ([0-9]{1,3}\b)?")
_TASKS_HEADER = ["TASK", "PID", "STATUS"]
_TASKS_ROW = re.compile(r"(\S+)\s+([0-9]{1,10})\s+(\S+)\s*")


class Client:
    """containerd, in one namespace.

    Every method raises the error tree: ``Unavailable`` when containerd cannot be reached, ``DeadlineExceeded`` when
    there was no answer in time, and what its docstring says.
    """

    def __init__(self, ctr: Ctr, *, runtime: str | None = None) -> None:
        self._ctr = ctr
        self._runtime = runtime

    @property
    def ctr(self) -> Ctr:
        """What each method runs its command with."""
        return self._ctr

    @property
    def namespace(self) -> str:
        """The namespace that every method works in."""
        return self._ctr.namespace

    def run(
        self,
        id: str,
        *,
        config: Path,
        runc_root: Path,
        pid_file: Path,
        io: Sequence[str],
        mark: str = "",
        watch: Watch = None,
    ) -> None:
        """Create and start a container in the background; a failure may leave it behind, half made.

        ``mark``, of letters and digits, is for ``is_unmarked``; ``watch`` is called while the command runs.
        """
        arguments = run_arguments(
            id, config=config, runc_root=runc_root, pid_file=pid_file, io=io, mark=mark, runtime=self._runtime
        )
        self._ctr.run(*arguments, operation="run", id=id, watch=watch)

    def is_unmarked(self, id: str, *marks: str) -> bool:
        """Return whether there is a container of this id that was not created with one of these marks."""
        other = ",".join([f"id=={id}", *(f'labels."{_MARK}"!={mark}' for mark in marks)])
        return bool(self._ctr.run("containers", "ls", "--quiet", other, operation="list containers").stdout.split())

    def tasks(self) -> dict[str, Task]:
        """Return the tasks by id; one whose shim hangs costs containerd 2 s, and shows as ``UNKNOWN``."""
        begun = time.monotonic()
        tasks = parse_tasks(self._ctr.run("tasks", "ls", operation="list tasks").stdout)
        if time.monotonic() - begun >= HUNG_SHIM:
            # containerd 2.3 leaves it out; only then is each asked for that has a container and is not listed.
            unlisted = [id for id in self.containers() if id not in tasks and self._may_have_task(id)]
            tasks.update({id: Task(id, 0, TaskState.UNKNOWN) for id in unlisted})
        return tasks

    def _may_have_task(self, id: str) -> bool:
        try:
            timeout = min(self._ctr.timeout, _ASK_TIMEOUT)
            self._ctr.run("tasks", "ps", "--", id, operation="list processes", id=id, timeout=timeout)
        except NotFound:
            return False
        except PluginExecError as error:
            log.debug("%s: its task cannot be asked for: %s", id, error)
        return True

    def containers(self) -> list[str]:
        """Return the ids of the containers."""
        return self._ctr.run("containers", "ls", "--quiet", operation="list containers").stdout.split()

    def create_confined(self, id: str, rootfs: str, capabilities: Iterable[str]) -> None:
        """Create a container, never to be started, with ctr's default seccomp profile for these capabilities."""
        arguments = confined_arguments(id, rootfs, capabilities)
        self._ctr.run(*arguments, operation="create container", id=id)

    def container_spec(self, id: str) -> dict[str, Any]:
        """Return the OCI spec that containerd has of a container; ``NotFound`` if there is none."""
        stdout = self._ctr.run("containers", "info", "--spec", "--", id, operation="read the spec", id=id).stdout
        return parse_object(stdout.encode(), f"the spec of {id}")

    def kill(self, id: str, signal: int) -> None:
        """Send a signal to the init process; ``NotFound`` if it has ended."""
        self._ctr.run("tasks", "kill", "--signal", str(int(signal)), "--", id, operation="signal", id=id)

    def pause(self, id: str) -> None:
        """Freeze all processes of a container; ``FailedPrecondition`` if they are frozen, or have ended."""
        self._ctr.run("tasks", "pause", "--", id, operation="pause", id=id)

    def resume(self, id: str) -> None:
        """Resume the processes of a container; ``FailedPrecondition`` if they are not frozen."""
        self._ctr.run("tasks", "resume", "--", id, operation="unpause", id=id)

    def delete_task(self, id: str, *, force: bool = False) -> int | None:
        """Delete a stopped task and return its exit code, ``None`` if ctr prints none; ``force`` kills it first."""
        flags = ["--force"] if force else []
        completed = self._delete("tasks", "rm", *flags, "--", id, operation="delete task", id=id)
        return parse_exit_code(completed.stderr)

    def delete_container(self, id: str) -> None:
        """Delete a container, and its task if that is stopped; ``FailedPrecondition`` if the task is not."""
        self._delete("containers", "rm", "--", id, operation="delete container", id=id)

    def delete_runtime_state(self, id: str, runc_root: Path) -> None:
        """Run ``runc delete --force`` for a container that containerd does not know; that kills it too."""
        argv = [self._runtime or "runc", *self.runtime_flags(runc_root), "delete", "--force", id]
        run_command(self._ctr.runner, argv, self._ctr.timeout, operation="delete runtime state", id=id)

    def runtime_flags(self, runc_root: Path) -> list[str]:
        """Return the flags of the OCI runtime's commands for this namespace."""
        # containerd's shim keeps the state of each namespace in a directory of its own.
        return ["--root", str(runc_root / self.namespace)]

    def namespaces(self) -> list[str]:
        """Return all namespaces of this containerd."""
        return self._ctr.run("namespaces", "ls", "--quiet", operation="list namespaces").stdout.split()

    def delete_namespace(self) -> None:
        """Delete the namespace, if there is one; ``FailedPrecondition`` while something is in it."""
        self._ctr.run("namespaces", "rm", "--", self.namespace, operation="delete namespace", id=self.namespace)

    def server_version(self) -> str:
        """Return containerd's version, such as ``1.6.20~ds1``; the cheapest proof that it answers."""
        return parse_server_version(self._ctr.run("version", operation="ask for the version").stdout)

    def check_versions(self) -> None:
        """Log a warning, once for each version, where containerd or ``ctr`` is of a series that was not tested.

        Raises nothing: if containerd does not answer, the next operation reports that.
        """
        timeout = min(self._ctr.timeout, VERSION_TIMEOUT)
        try:
            stdout = self._ctr.run("version", operation="ask for the version", timeout=timeout).stdout
            warn_if_untested("containerd", parse_server_version(stdout))
            warn_if_untested("ctr", parse_client_version(stdout))
        except Exception as error:
            log.debug("cannot check the versions of containerd and ctr: %s", error)

    def _delete(self, *arguments: str, operation: str, id: str) -> Completed:
        # Nor may a Ctrl-C interrupt it: that would leak the shim, and the id would stay taken.
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


def confined_arguments(id: str, rootfs: str, capabilities: Iterable[str]) -> list[str]:
    """Return the arguments of ``ctr containers create`` for a container with just these capabilities."""
    wanted = list(capabilities)
    flags = [f"--cap-drop={name}" for name in DEFAULT_CAPABILITIES if name not in wanted]
    flags += [f"--cap-add={name}" for name in wanted if name not in DEFAULT_CAPABILITIES]
    return ["containers", "create", "--seccomp", "--rootfs", *flags, "--", rootfs, id, "true"]


def parse_tasks(stdout: str) -> dict[str, Task]:
    """Parse ``ctr tasks ls``: a header, then ``ID PID STATUS`` in any order."""
    header, *rows = stdout.splitlines() or [""]
    # What is not listed counts as ended: output that is not a list must not pass for an empty list.
    if header.split() != _TASKS_HEADER:
        raise Unknown(f"cannot parse the output of ctr tasks ls: {header[:100]!r}", operation="list tasks")
    tasks = {}
    for line in rows:
        row = _TASKS_ROW.fullmatch(line)
        if not row:
            raise Unknown(f"cannot parse a line of ctr tasks ls: {line[:100]!r}", operation="list tasks")
        id, pid, state = row.groups()
        known = state in TaskState.__members__
        tasks[id] = Task(id, int(pid), TaskState(state) if known else TaskState.UNKNOWN)
    return tasks


def parse_exit_code(stderr: str) -> int | None:
    """Parse what ``ctr tasks rm`` prints: the exit code, 0 if it prints nothing, ``None`` if it prints no code."""
    match = _EXIT_CODE.search(stderr)
    if not match:
        return 0
    return int(match[1]) if match[1] and int(match[1]) <= 255 else None


def parse_server_version(stdout: str) -> str:
    """Parse ``ctr version``: a block for the client, then one for the server."""
    return _parse_version("server", stdout.partition("Server:")[2])


def parse_client_version(stdout: str) -> str:
    """Parse ``ctr version`` for the version of ``ctr`` itself."""
    return _parse_version("client", stdout.partition("Server:")[0])


def _parse_version(whose: str, block: str) -> str:
    # No "\s" here: it takes newlines too, and a thousand of those would be tried a million times.
    match = re.search(r"^[ \t]*Version:[ \t]*([!-~]+)", block, re.MULTILINE)
    if not match:
        raise Unknown(f"ctr version printed no {whose} version", operation="ask for the version")
    return match[1]
