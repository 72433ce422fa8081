"""Check ids, namespaces and signals before anything is run with them."""

from __future__ import annotations

import re
import signal as _signal

from pluginexec.errors import InvalidArgument, shown

# containerd's pkg/identifiers: labels of letters and digits, joined by single dots, dashes or underscores.
_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_LONGEST_IDENTIFIER = 76
# ctr 2.1 takes these, as a first argument and even after "--", for a call for help: it prints that and returns 0.
_CALLS_FOR_HELP = ("h", "help")


def check_id(id: str) -> str:
    """Return ``id`` if containerd accepts it as a container's; raise ``InvalidArgument`` if not."""
    _check_identifier("id", id)
    return id


def check_namespace(namespace: str) -> str:
    """Return ``namespace`` if containerd accepts it; raise ``InvalidArgument`` if not."""
    _check_identifier("namespace", namespace)
    return namespace


def _check_identifier(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} must be a string, not {type(value).__name__}")
    if not value:
        raise InvalidArgument(f"{what} is empty; it needs 1 to {_LONGEST_IDENTIFIER} characters")
    if len(value) > _LONGEST_IDENTIFIER:
        raise InvalidArgument(f"{what} has {len(value)} characters; containerd allows {_LONGEST_IDENTIFIER}")
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidArgument(
            f"{what} {shown(value)} is not allowed: use letters and digits, joined by single '.', '_' or '-'"
        )
    # A namespace too: it is the first argument of the command that marks the event stream.
    if value in _CALLS_FOR_HELP:
        raise InvalidArgument(f"{what} {value!r} cannot be used: ctr takes it for a call for help; choose another")


def parse_signal(value: int | str) -> int:
    """Return the number of a signal given as a number, a ``signal.Signals`` or a name (``"TERM"``, ``"SIGTERM"``).

    Raises ``InvalidArgument`` for anything that is no signal of this machine; 0 is none.
    """
    number = _signal_number(value)
    if number is None or not 1 <= number <= _signal.SIGRTMAX:
        raise InvalidArgument(f"invalid signal {shown(value)}: use a name such as TERM, or a number from 1 on")
    # A plain number: before Python 3.11 the text of an enum member is its name.
    return int(number)


def signal_name(number: int) -> str:
    """Return the name of a signal: ``SIGTERM``, ``SIGRTMIN+3``."""
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - _signal.SIGRTMIN}" if number > _signal.SIGRTMIN else f"signal {number}"


def _signal_number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if not isinstance(value, str) or not value.isascii():
        return None
    if value.isdigit():
        return int(value) if len(value) < 4 else None
    name = value.upper().removeprefix("SIG")
    real_time = re.fullmatch(r"(RTMIN|RTMAX)([+-][0-9]{1,2})", name)
    if real_time:
        number = _signal.Signals[f"SIG{real_time[1]}"] + int(real_time[2])
        return number if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX else None
    try:
        return _signal.Signals[f"SIG{name}"]
    except KeyError:
        return None
