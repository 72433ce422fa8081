"""Wait for the socket of a plugin, and call its methods by http over that socket, as docker does."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pluginexec.containerd.remote import LONGEST_TIMEOUT
from pluginexec.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PluginExecError,
    Unavailable,
    Unknown,
    shown,
)
from pluginexec.linux import inotify
from pluginexec.linux.poll import wait_readable
from pluginexec.managed.config import PluginConfig, capability_of
from pluginexec.managed.connection import IsLink, TooLong, dial, exchange

LONGEST_ANSWER = 64 << 20
"""Bytes of an answer; one that has more is not read to its end."""
_LONGEST_ACTIVATION = 1 << 20
_ACCEPT = "application/vnd.docker.plugins.v1.2+json"
_METHOD = re.compile(r"/?[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*")
_CHUNK = 1 << 16
# Characters shown of an error text that is not JSON, such as the page of a web server.
_SHOWN = 500
# inotify does not report listen(2), which most servers call microseconds after bind(2) has created the file.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class Ended(FailedPrecondition):
    """The plugin's process ended before it listened."""


def wait_for_socket(path: Path, *, timeout: float, ended: int) -> None:
    """Wait until a process listens on a socket; the directory of the socket must exist.

    ``ended`` is a pidfd, or another descriptor, that becomes readable when waiting is pointless: then ``Ended`` is
    raised at once. Raises ``DeadlineExceeded`` after ``timeout`` seconds. inotify watches the directory, so that the
    socket is noticed at once, too.
    """
    deadline = time.monotonic() + min(timeout, LONGEST_TIMEOUT)
    pause = _FIRST_PAUSE
    with _watched(path.parent) as events:
        while (there := _listens(path)) is not True:
            left = deadline - time.monotonic()
            if left <= 0:
                what = "the file exists, but it does not listen" if there is False else "no such file"
                raise DeadlineExceeded(f"no answer on its socket {path.name!r} within {timeout:g} s: {what}")
            ready = wait_readable(left if there is None else min(left, pause), events, ended)
            if ended in ready:
                raise Ended(f"it ended before it listened on its socket {path.name!r}")
            if events in ready:
                _discard(events)
            elif there is False:
                pause = min(2 * pause, _LONGEST_PAUSE)


@contextlib.contextmanager
def _watched(directory: Path) -> Iterator[int]:
    try:
        descriptor = inotify.watch(str(directory), inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_ATTRIB)
    except OSError as error:
        raise Unavailable(f"directory {str(directory)!r} cannot be watched: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _discard(events: int) -> None:
    # Only what there is now: a plugin that makes files without end must not outlast the deadline.
    with contextlib.suppress(BlockingIOError):
        os.read(events, _CHUNK)


def _listens(path: Path) -> bool | None:
    """Return whether a process listens on a socket; ``None`` if there is no such file."""
    try:
        with dial(path):
            return True
    except BlockingIOError:  # it accepts none for now
        return True
    except FileNotFoundError:
        return None
    except ConnectionRefusedError:
        return False
    except OSError as error:
        raise _connection_error(path, error) from error


def _connection_error(path: Path, error: OSError) -> PluginExecError:
    if isinstance(error, IsLink):
        return FailedPrecondition(
            f"its socket {path.name!r} is a symbolic link, which is not followed: it could lead to another service",
            hint="make it a socket of the plugin's own",
        )
    reason = (error.strerror or str(error)).lower()
    error_type = PermissionDenied if error.errno in (errno.EACCES, errno.EPERM) else Unavailable
    return error_type(f"connection to its socket {path.name!r} failed: {reason}")


def call(
    socket: Path, method: str, body: object = None, *, timeout: float = 30.0, longest: int = LONGEST_ANSWER
) -> Any:
    """Call a method of a plugin, such as ``VolumeDriver.Create``, and return its answer.

    ``body`` is anything that JSON can hold; ``None`` sends an empty one. The answer is its parsed JSON, ``None`` if it
    is empty, and ``bytes`` if it is another type of data, such as the stream of ``LogDriver.ReadLogs``. Raises:

    - ``Unknown``: the plugin answered with an ``Err``, or with more than ``longest`` bytes, or failed in another way;
    - ``NotFound``: it has no such method;
    - ``InvalidArgument``: the method name is invalid, or the body cannot be encoded as JSON;
    - ``Unavailable``: no process listens, or the connection broke;
    - ``FailedPrecondition``: the socket is a symbolic link;
    - ``DeadlineExceeded``: no complete answer within ``timeout`` seconds; the call may have taken effect.
    """
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise InvalidArgument(f"invalid method {shown(method)}; write it as VolumeDriver.Create")
    try:
        answer = exchange(Path(socket), _request(method.lstrip("/"), _encoded(body)), timeout, longest)
    except TimeoutError as error:
        raise DeadlineExceeded(f"no answer to {method} within {timeout:g} s") from error
    except OSError as error:
        raise _connection_error(Path(socket), error) from error
    except TooLong as error:
        raise Unknown(f"the answer to {method} is too long: at most {longest >> 20} MiB are read") from error
    except http.client.HTTPException as error:
        reason = f"{type(error).__name__}: {error}"[:_SHOWN]
        raise Unavailable(f"the answer to {method} is not http: {reason}") from error
    return _result(method, *answer)


def _request(method: str, body: bytes) -> bytes:
    head = (
        f"POST /{method} HTTP/1.1",
        "Host: plugin",
        f"Accept: {_ACCEPT}",
        f"Content-Type: {_ACCEPT}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*head, "\r\n")).encode() + body


def _encoded(body: object) -> bytes:
    if body is None:
        return b""
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"cannot encode the body as json: {error}") from error


def _result(method: str, status: int, content_type: str, data: bytes) -> Any:
    try:
        answer = json.loads(data) if data.strip() else None
        is_json = True
    except (ValueError, RecursionError):
        answer, is_json = None, False
    err = answer.get("Err") if isinstance(answer, dict) else None
    if err or status != http.client.OK:
        text = err if isinstance(err, str) and err else data[:_SHOWN].decode(errors="replace").strip()
        missing = status == http.client.NOT_FOUND
        raise (NotFound if missing else Unknown)(f"{method} failed: {text or f'http status {status}'}")
    if is_json:
        return answer
    if content_type.partition(";")[0].strip().lower() in ("", "text/plain", "application/json", _ACCEPT):
        raise Unknown(f"the answer to {method} is not json: {shown(data)}")
    return data


def activate(socket: Path, config: PluginConfig, timeout: float) -> list[str]:
    """Call ``Plugin.Activate``, and return what the plugin implements.

    Raises what ``call`` does, and ``FailedPrecondition`` if one of the configuration's ``interface.types`` is missing.
    """
    answer = call(socket, "Plugin.Activate", timeout=timeout, longest=_LONGEST_ACTIVATION)
    implements = answer.get("Implements") if isinstance(answer, dict) else None
    if not isinstance(implements, list) or not all(isinstance(each, str) for each in implements):
        raise FailedPrecondition("its answer to Plugin.Activate has no list of strings 'Implements'")
    answered = {each.lower() for each in implements}
    missing = [each for each in config.types if capability_of(each) not in answered]
    if missing:
        names = ", ".join(implements) or "nothing"
        raise FailedPrecondition(f"interface.types has {', '.join(missing)}, but Plugin.Activate answered {names}")
    return implements
