"""How the command ends that went wrong: one line on stderr (what, why, what to do) and an exit code."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TextIO

import click

from pluginexec.cli.colour import styled
from pluginexec.cli.globals import Settings
from pluginexec.cli.humanize import now, rfc3339
from pluginexec.cli.suggestions import did_you_mean
from pluginexec.errors import PluginExecError, one_line

OWN_ERROR = 125
"""The exit code for errors of ours, usage included: docker's, which leaves 126 and 127 to the plugin's command."""
INTERRUPTED = 130
CLOSED_PIPE = 141
"""What a shell says of a command that SIGPIPE ended."""


@dataclass(frozen=True)
class Complaint:
    """An error as it is written: ``details`` are only for those who debug."""

    message: str
    operation: str | None = None
    id: str | None = None
    hint: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    line: str = ""
    """The text of the one line."""


def show_error(error: BaseException) -> int:
    """Write an error to stderr as the globals of this command want it, and return the exit code that goes with it."""
    settings = click.get_current_context().find_object(Settings)
    assert settings is not None
    return _show(error, settings.debug, settings.log_format)


def end_with(error: BaseException, arguments: list[str]) -> int:
    """Say what ended the command, and return its exit code."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return CLOSED_PIPE
    return _show(error, *_asked(arguments))


def end_without(stream: TextIO, error: OSError, code: object, arguments: list[str]) -> object:
    """Give up a standard stream that cannot be written to, and return the exit code, which was to be ``code``."""
    # The interpreter flushes once more when it ends, and would complain.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    return code or _show(error, *_asked(arguments))


def _asked(arguments: list[str]) -> tuple[bool, str]:
    """Return ``--debug`` and ``--log-format``, also where the command line is wrong behind them."""
    from pluginexec.cli.group import PROGRAM, cli

    options: dict[str, Any] = {"resilient_parsing": True, "ignore_unknown_options": True}
    given = cli.make_context(PROGRAM, list(arguments), **options).params
    return bool(given.get("debug")), given.get("log_format") or "text"


def _show(error: BaseException, debug: bool, log_format: str) -> int:
    complaint = _complaint(error)
    if log_format == "json":
        _write(_as_json(complaint, debug))
    else:
        prefix = styled("pluginexec:", "red", sys.stderr)
        _write("\n".join([f"{prefix} {one_line(complaint.line)}", *(_details(complaint) if debug else ())]))
    return _exit_code(error)


def _exit_code(error: BaseException) -> int:
    from pluginexec.containerd.error_messages import invocation_code

    return (invocation_code(error.message) if isinstance(error, PluginExecError) else None) or OWN_ERROR


def _complaint(error: BaseException) -> Complaint:
    if isinstance(error, PluginExecError):
        details = {"argv": list(error.argv), "returncode": error.returncode, "stderr": error.stderr}
        line = f"{error} ({error.hint})" if error.hint else str(error)
        return Complaint(str(error), error.operation, error.id, error.hint, details if error.argv else {}, line)
    if isinstance(error, click.UsageError):
        return _usage_complaint(error)
    if isinstance(error, click.ClickException):
        message = _plain(error.format_message())
        return Complaint(message, line=message)
    import traceback

    if isinstance(error, OSError) and error.strerror:  # of the machine, and nobody said more
        message = f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
    else:
        message = f"internal error: {type(error).__name__}: {error}".removesuffix(": ")
    hint = "run with --debug to see where"
    details = {"traceback": "".join(traceback.format_exception(error))}
    return Complaint(one_line(message), hint=hint, details=details, line=f"{one_line(message)}; {hint}")


def _usage_complaint(error: click.UsageError) -> Complaint:
    path = error.ctx.command_path if error.ctx else "pluginexec"
    command = path.partition(" ")[2] or None
    message = f"{command}: {_usage_message(error)}" if command else _usage_message(error)
    hint = f"see '{path} --help'"
    joint = "" if message.endswith("?") else ";"
    return Complaint(message, command, hint=hint, line=f"{message}{joint} {hint}")


def _usage_message(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):  # each version of click has words of its own
        return f"no such option: {error.option_name}{did_you_mean(error.option_name, error.possibilities or ())}"
    return _plain(error.format_message())


def _plain(message: str) -> str:
    """Return a message of click's as ours are written: it is no sentence."""
    message = one_line(message).removesuffix(".")
    return message[:1].lower() + message[1:]


def _as_json(complaint: Complaint, debug: bool) -> str:
    content = {
        "time": rfc3339(now()),
        "level": "error",
        "msg": one_line(complaint.message),
        "operation": complaint.operation,
        "id": complaint.id,
        "hint": complaint.hint,
        **(complaint.details if debug else {}),
    }
    return json.dumps(content, separators=(",", ":"))


def _details(complaint: Complaint) -> Iterable[str]:
    for name, value in complaint.details.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        for part in text.splitlines():
            # The indentation of a traceback is kept.
            yield f"pluginexec: debug: {name}: {part if part.isprintable() else one_line(part)}"


def _write(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
    except OSError:
        pass  # told, where that is possible, when it is flushed for the last time


def _reader_is_gone() -> bool:
    """Tell whether nobody can read stdout or stderr any more; not each broken pipe is one of them."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
