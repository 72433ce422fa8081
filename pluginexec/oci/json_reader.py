"""Read a JSON object that comes from outside: bounded in size, depth and number of values, each key once.

Go reads a key that stands twice as the last one, other readers as the first: what was checked need not be what runs.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pluginexec.errors import InvalidArgument, PermissionDenied, PluginExecError, shown

SHOWN = 100
"""How many characters of a value that is wrong an error shows."""
# fmt: off
JSON_NAMES: dict[type, str] = {
    dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
    type(None): "null",
}
# fmt: on
_CONFIG = "config.json"
# containerd's default limit for a gRPC message: a larger spec could not reach it.
_LARGEST_FILE = 16 << 20
# Against cycles, and for json, which recurses; a real spec is 8 deep.
_DEEPEST = 100
# Against a dict of lists that hold each other many times over; a real spec has some hundreds.
_MOST_VALUES = 100_000


def read_object(
    source: str | os.PathLike[str], what: str, remedy: str = f"give a {_CONFIG}, or a bundle directory with one in it"
) -> tuple[dict[str, Any], str, Path]:
    """Return the object in a file, or in the ``config.json`` of a directory; how errors name it; and its path.

    ``what`` is what it is, such as ``spec``; ``remedy`` what to do if it cannot be read. Raises ``InvalidArgument`` for
    what is not a JSON object of at most 16 MiB, 100 levels and 100,000 values, or has a key that stands twice;
    ``PermissionDenied`` if this user may not read the file.
    """
    path = to_path(f"{what} must be a dict or a path", source)
    try:
        file = path / _CONFIG if path.is_dir() else path
        name = f"{what} {str(file)!r}"
        data = _read(file, name)
    except (OSError, ValueError) as error:
        # An OSError names what it is about; a ValueError (a NUL, a lone surrogate) does not.
        name = f"{what} {str(getattr(error, 'filename', None) or path)!r}"
        raise path_error(name, error, remedy) from error
    return parse_object(data, name), name, file


def parse_object(data: bytes, name: str) -> dict[str, Any]:
    """Return the object that ``data`` is; ``name`` is how errors name it. Raises as ``read_object``."""
    content = _plain(_parse(data, name), name)
    if not isinstance(content, dict):
        raise wrong(name, "", f"must be a json object, not {JSON_NAMES[type(content)]}")
    return content


def plain_object(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Copy a mapping, all the way down, as plain JSON types; refuse what would not survive the way to containerd."""
    copy: dict[str, Any] = _plain(value, name)
    return copy


class _Pairs(dict[str, Any]):
    """A parsed object that remembers whether a key stood twice: where that was is known only from above."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: str | None = None
        if len(self) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self.repeated = next(key for key, count in counts.items() if count > 1)


def _read(file: Path, name: str) -> bytes:
    # O_NONBLOCK: to open a FIFO, or to read a file such as /proc/kmsg, could wait for ever.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"{name}: not a regular file; give the path of a {_CONFIG}")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            # Not by the size that stat tells: it is 0 for the endless ones in /proc.
            data = stream.read(_LARGEST_FILE + 1) or b""
    finally:
        os.close(descriptor)
    if len(data) > _LARGEST_FILE:
        raise InvalidArgument(f"{name}: over {_LARGEST_FILE >> 20} MiB; containerd could not take it")
    return data


def _parse(data: bytes, name: str) -> object:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_Pairs)
    except UnicodeDecodeError as error:
        raise wrong(name, "", f"not utf-8 at byte {error.start}; write it as json in utf-8") from error
    except json.JSONDecodeError as error:
        said = error.msg[:1].lower() + error.msg[1:]
        raise wrong(name, "", f"not json at line {error.lineno}:{error.colno}: {said}; correct it there") from error
    except RecursionError as error:
        raise wrong(name, "", f"nested deeper than {_DEEPEST} levels; no spec needs that") from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise wrong(name, "", "holds an integer beyond 64 bits; containerd could not read it") from error


def _plain(value: object, name: str, field: str = "", depth: int = 0, count: Iterator[int] | None = None) -> Any:
    count = count or itertools.count()
    if next(count) > _MOST_VALUES:
        raise wrong(name, "", f"holds over {_MOST_VALUES:,} values; no spec needs that")
    if value is None or isinstance(value, (str, int, float)):
        return _plain_scalar(value, name, field)
    if depth > _DEEPEST:
        raise wrong(name, "", f"nested deeper than {_DEEPEST} levels; no spec needs that")
    if isinstance(value, (list, tuple)):
        return [_plain(item, name, f"{field}[{index}]", depth + 1, count) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        raise wrong(name, field, f"is a {type(value).__name__}, which json cannot hold; convert it")
    if isinstance(value, _Pairs) and value.repeated is not None:
        raise wrong(name, _inner(field, value.repeated), "stands twice; remove one")
    copy = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise wrong(name, field, f"has a key of type {type(key).__name__}; use strings as keys")
        inner = _inner(field, key)
        copy[_plain_scalar(key, name, inner)] = _plain(item, name, inner, depth + 1, count)
    return copy


def _inner(field: str, key: str) -> str:
    return f"{field}.{key[:SHOWN] if key.isprintable() else repr(key[:SHOWN])}".lstrip(".")


def _plain_scalar(value: Any, name: str, field: str) -> Any:
    if isinstance(value, str):
        if "\0" in value:
            raise wrong(name, field, "holds a NUL character, which no path or argument can; remove it")
        try:
            return value.encode().decode()
        except UnicodeEncodeError as error:
            # ctr would put U+FFFD in its place, and say nothing.
            raise wrong(name, field, "has a lone surrogate, which utf-8 cannot hold; remove it") from error
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise wrong(name, field, "is an integer beyond 64 bits; containerd could not read it")
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong(name, field, f"is {value}, which json cannot hold; give a finite number")
    return int(value) if isinstance(value, int) else float(value)


def to_path(what: str, value: Any) -> Path:
    """Return ``value`` as a path; ``what`` begins the error if it is none."""
    path = value
    with contextlib.suppress(TypeError):  # it is no path, and refused as such
        path = os.fspath(value)
    if not isinstance(path, str) or not path:  # Path("") would be the working directory
        raise InvalidArgument(f"{what}, not {shown(path)}")
    return Path(path)


def wrong(name: str, field: str, problem: str) -> InvalidArgument:
    """Return the error that ``field`` (empty: the whole) of ``name`` is wrong."""
    return InvalidArgument(f"{name}: {field} {problem}" if field else f"{name}: {problem}")


def path_error(name: str, error: OSError | ValueError, remedy: str) -> PluginExecError:
    """Return the error of the tree for what the system said about the path that ``name`` ends with."""
    said = ((isinstance(error, OSError) and error.strerror) or str(error)).lower()
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{name}: {said}; let this user read it, or run as one who may")
    return InvalidArgument(f"{name}: {said}; {remedy}")
