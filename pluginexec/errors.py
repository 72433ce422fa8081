"""The error tree, with containerd's names.

::

    PluginExecError
    ├── NotFound             no such plugin, container or task
    ├── AlreadyExists        the id is taken
    ├── InvalidArgument      what was passed in is wrong, and would be wrong again
    ├── FailedPrecondition   right request, wrong state: of the machine, the root or the task
    ├── Unavailable          containerd, or a managed plugin, cannot be reached now; the same call may work later
    ├── DeadlineExceeded     no answer in time; whether it happened is not known
    ├── PermissionDenied     this user may not do that
    └── Unknown              containerd, runc, ctr or a managed plugin printed something unknown
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# What is shown of a command's stderr; the end of it names the cause.
STDERR_KEPT = 4096
_SHOWN = 100


class PluginExecError(Exception):
    """Base of every error that this package raises on purpose.

    ``str(error)`` is one lowercase line: what was tried and what came back. A character that is not printable, which
    could drive a terminal, shows as its escape there. The attributes carry the rest, as it came:

    - ``operation``: what was tried (``"create"``), or ``None``;
    - ``id``: the plugin that it was about, or ``None``;
    - ``argv``: the command that failed, empty if none was run;
    - ``returncode``: its exit code, negative for a signal, ``None`` if none was run or it did not end;
    - ``stderr``: the end of what it printed there;
    - ``hint``: what a person can do about it, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        id: str | None = None,
        argv: Sequence[str] = (),
        returncode: int | None = None,
        stderr: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.id = id
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr[-STDERR_KEPT:]
        self.hint = hint

    def __str__(self) -> str:
        tried = " ".join(part for part in (self.operation, self.id and shown(self.id)) if part)
        return one_line(f"{tried}: {self.message}".removeprefix(": "))

    def __reduce__(self) -> tuple[Callable[..., PluginExecError], tuple[Any, ...]]:
        # The default would call the class with the message alone, and drop all that is keyword-only.
        return _rebuild, (type(self), self.message, {k: v for k, v in self.__dict__.items() if k != "message"})


def _rebuild(kind: type[PluginExecError], message: str, attributes: dict[str, Any]) -> PluginExecError:
    error = kind(message)
    error.__dict__.update(attributes)
    return error


def one_line(text: str) -> str:
    """Return ``text`` as one line that is safe for a terminal and a log: what is not printable shows as its escape."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def shown(value: object) -> str:
    """Return ``value`` as a message shows it; one whose text may be huge, or cannot be had, by the name of its type."""
    if isinstance(value, (str, bytes)):
        return repr(value[:_SHOWN])
    # Python refuses to print an integer of thousands of digits, and a list that is nested a thousand deep.
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 64):
        return repr(value)
    return f"a value of type {type(value).__name__}"


class NotFound(PluginExecError):
    """No such plugin, container or task."""


class AlreadyExists(PluginExecError):
    """The id is taken."""


class InvalidArgument(PluginExecError):
    """What was passed in is wrong, and would be wrong again."""


class FailedPrecondition(PluginExecError):
    """The request is right, but the machine, the root or the task is in the wrong state for it."""


class Unavailable(PluginExecError):
    """containerd, or a managed plugin, cannot be reached now; the same call may work later."""


class DeadlineExceeded(PluginExecError):
    """No answer came in time; whether the thing happened is not known."""


class PermissionDenied(PluginExecError):
    """This user may not do that."""


class Unknown(PluginExecError):
    """containerd, runc, ctr or a managed plugin printed something unknown."""
