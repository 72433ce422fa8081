"""Error reports: one line on stderr (what, why, what to do) and an exit code."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TextIO

import click

from pluginexec.cli.colour import styled
from pluginexec.cli.globals import Settings
from pluginexec.cli.humanize import now, rfc3339
from pluginexec.cli.output import unwritable
from pluginexec.cli.suggestions import no_such_word
from pluginexec.errors import PluginExecError, one_line

OWN_ERROR = 125
"""The exit code for errors of pluginexec, including usage errors; as in docker, 126 and 127 are the plugin's."""
INTERRUPTED = 130
CLOSED_PIPE = 141
"""The code that a shell reports for a command killed by SIGPIPE."""


@dataclass(frozen=True)
class Report:
    """An error as it is printed; ``details`` only with ``--debug``."""

    message: str
    operation: str | None = None
    id: str | None = None
    hint: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    line: str = ""
    """The text of the line on stderr."""


def show_error(error: BaseException) -> int:
    """Print an error to stderr in the format that the global options choose, and return its exit code."""
    settings = click.get_current_context().find_object(Settings)
    assert settings is not None
    return _show(error, settings.debug, settings.log_format)


def end_with(error: BaseException, arguments: list[str]) -> int:
    """Print the error that ended the command, and return its exit code."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return CLOSED_PIPE
    if isinstance(error, OSError) and _is_raised_by(click.echo, error):  # the help, or the version
        error = unwritable("stdout", error)
    return _show(error, *_log_options(arguments))


def _is_raised_by(function: Callable[..., object], error: BaseException) -> bool:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is function.__code__


def end_without(stream: TextIO, error: OSError, code: object, arguments: list[str]) -> object:
    """Close a standard stream that cannot be written to; return the exit code, which would have been ``code``."""
    # The interpreter flushes again when it exits, and would print an error.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    name = "stdout" if stream is sys.stdout else "stderr"
    return code or _show(unwritable(name, error), *_log_options(arguments))


def _log_options(arguments: list[str]) -> tuple[bool, str]:
    """Return ``--debug`` and ``--log-format``, even if the rest of the command line is invalid."""
    from pluginexec.cli.group import PROGRAM, cli

    settings: dict[str, Any] = {"resilient_parsing": True, "ignore_unknown_options": True}
    given = cli.make_context(PROGRAM, list(arguments), **settings).params
    return bool(given.get("debug")), given.get("log_format") or "text"


def _show(error: BaseException, debug: bool, log_format: str) -> int:
    report = _report(error)
    if log_format == "json":
        _write(_as_json(report, debug))
    else:
        prefix = styled("pluginexec:", "red", sys.stderr)
        _write("\n".join([f"{prefix} {one_line(report.line)}", *(_details(report) if debug else ())]))
    return _exit_code(error)


def _exit_code(error: BaseException) -> int:
    from pluginexec.containerd.error_messages import invocation_code

    return (invocation_code(error) if isinstance(error, PluginExecError) else None) or OWN_ERROR


def _report(error: BaseException) -> Report:
    if isinstance(error, PluginExecError):
        details = {"argv": list(error.argv), "returncode": error.returncode, "stderr": error.stderr}
        line = f"{error}; hint: {error.hint}" if error.hint else str(error)
        return Report(str(error), error.operation, error.id, error.hint, details if error.argv else {}, line)
    if isinstance(error, click.UsageError):
        return _usage_report(error)
    if isinstance(error, click.ClickException):
        message = _plain(error.format_message())
        return Report(message, line=message)
    import traceback

    if isinstance(error, OSError) and error.strerror:  # raised by the operating system, and not wrapped
        message = f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
    else:
        message = f"internal error: {type(error).__name__}: {error}".removesuffix(": ")
    hint = "run with --debug for a traceback"
    details = {"traceback": "".join(traceback.format_exception(error))}
    return Report(one_line(message), hint=hint, details=details, line=f"{one_line(message)}; {hint}")


def _usage_report(error: click.UsageError) -> Report:
    path = error.ctx.command_path if error.ctx else "pluginexec"
    command = path.partition(" ")[2] or None
    message = f"{command}: {_usage_message(error)}" if command else _usage_message(error)
    hint = f"see '{path} --help'"
    joint = "" if message.endswith("?") else ";"
    return Report(message, command, hint=hint, line=f"{message}{joint} {hint}")


def _usage_message(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):  # the wording of click differs between versions
        command = error.ctx.command_path.partition(" ")[2] if error.ctx else ""
        group = "run" if command == "create" else command  # they have the same options
        return f"no such option: {error.option_name}{no_such_word(error.option_name, error.possibilities or (), group)}"
    return _plain(error.format_message())


def _plain(message: str) -> str:
    """Return a message of click in the style of this project: no capital letter, no full stop."""
    message = one_line(message).removesuffix(".")
    return message[:1].lower() + message[1:]


def _as_json(report: Report, debug: bool) -> str:
    content = {
        "time": rfc3339(now()),
        "level": "error",
        "msg": one_line(report.message),
        "operation": report.operation,
        "id": report.id,
        "hint": report.hint,
        **(report.details if debug else {}),
    }
    return json.dumps(content, separators=(",", ":"))


def _details(report: Report) -> Iterable[str]:
    for name, value in report.details.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        for part in text.splitlines():
            # The indentation of a traceback is kept.
            yield f"pluginexec: debug: {name}: {part if part.isprintable() else one_line(part)}"


def _write(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
    except OSError:
        pass  # reported, if possible, when the stream is flushed for the last time


def _reader_is_gone() -> bool:
    """Return whether stdout or stderr has lost its reader; a ``BrokenPipeError`` may come from another pipe."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
