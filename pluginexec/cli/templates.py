"""Parse ``--format``: ``table``, ``json``, and docker's templates as far as they consist of fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from os import fspath
from typing import Any, TypeAlias

from pluginexec.cli.humanize import rfc3339
from pluginexec.errors import InvalidArgument, shown

_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD = re.compile(r"\s*(json\s+)?\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?\s*", re.ASCII)
# docker's field names and their equivalents here, in the order in which they are tried.
_ALIASES = {
    "names": ("name", "id"),
    "name": ("id",),
    "container": ("id",),
    "runningfor": ("created",),
    "created": ("created_at",),
    "status": ("state",),
}
# docker's inspect nests fields in these; here they are flat: {{.State.ExitCode}} is {{.ExitCode}}.
_SECTIONS = ("state", "config", "hostconfig")
_SUPPORTED = "use table, json, 'table TEMPLATE' or a template of text, {{.Field}}, {{json .}} and {{json .Field}}"

Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """``{{.Path}}``, or ``{{json .Path}}``; an empty path is the whole row."""

    path: Path
    as_json: bool


@dataclass(frozen=True)
class Format:
    """A parsed format; ``type`` is table, json or template. A table has parts if it is given as a template."""

    type: str
    parts: tuple[str | Field, ...] = ()

    def render(self, row: Mapping[str, Any]) -> str:
        """Return the text of one row."""
        if self.type == "json":
            return to_json(row)
        return "".join(part if isinstance(part, str) else _render_field(part, row) for part in self.parts)

    def render_header(self, titles: Mapping[str, str]) -> str:
        """Return the header: the title of each field, by default its name split into words."""
        return "".join(part if isinstance(part, str) else _title(part.path, titles) for part in self.parts)


def parse_format(text: str, fields: Iterable[str] | None = None) -> Format:
    """Parse a format; ``fields`` are the existing fields, or ``None`` if they are not known in advance.

    Raise ``InvalidArgument`` for unsupported formats and unknown fields.
    """
    if text in ("table", "json"):
        return Format(text)
    known = None if fields is None else [tuple(field.split(".")) for field in fields]
    type, template = ("table", text[6:].lstrip()) if text.startswith("table ") else ("template", text)
    parts = tuple(_parts(template.replace("\\t", "\t").replace("\\n", "\n"), known))
    if not any(isinstance(part, Field) for part in parts):
        raise _refused(f"unknown format: {shown(text)}", known)
    return Format(type, parts)


def _parts(template: str, known: list[Path] | None) -> Iterable[str | Field]:
    end = 0
    for action in _ACTION.finditer(template):
        yield template[end : action.start()]
        yield _parse_action(action, known)
        end = action.end()
    if "{{" in template[end:]:
        raise _refused(f"format has an unclosed action: {shown(template[end:])}", known)
    yield template[end:]


def _parse_action(action: re.Match[str], known: list[Path] | None) -> Field:
    match = _FIELD.fullmatch(action[1])
    if not match or not (match[1] or match[2]):
        raise _refused(f"format {shown(action[0])} is not supported", known)
    path = tuple(match[2].split(".")) if match[2] else ()
    if path and known is not None:
        meaning = next((each for each in _meanings(path) if _is_known(each, known)), None)
        if meaning is None:
            raise _refused(f"format has an unknown field: .{match[2]}", known)
        path = meaning
    return Field(path, bool(match[1]))


def _meanings(path: Path) -> Iterable[Path]:
    yield path
    for alias in _ALIASES.get(_plain(path[0]), ()):
        yield (alias, *path[1:])
    if len(path) > 1 and _plain(path[0]) in _SECTIONS:
        yield from _meanings(path[1:])


def _is_known(path: Path, known: list[Path]) -> bool:
    plain = [_plain(name) for name in path]
    return any([_plain(name) for name in each[: len(path)]] == plain for each in known)


def _plain(name: str) -> str:
    """Return a name in the form used for comparison: ``ExitCode`` and ``exit_code`` are the same."""
    return name.replace("_", "").lower()


def _refused(problem: str, known: Iterable[Path] | None) -> InvalidArgument:
    names = [_go_name(path) for path in known or ()]
    return InvalidArgument(problem, hint=f"{_SUPPORTED}; fields: {', '.join(names)}" if names else _SUPPORTED)


def _go_name(path: Path) -> str:
    def camel(name: str) -> str:
        return "".join(word.upper() if word in ("id", "pid") else word.capitalize() for word in name.split("_"))

    return "".join(f".{camel(name)}" for name in path)


def _render_field(field: Field, row: Mapping[str, Any]) -> str:
    value = _look_up(field.path, row)
    return to_json(value) if field.as_json else to_text(value)


def _look_up(path: Path, row: Mapping[str, Any]) -> Any:
    for meaning in _meanings(path) if path else [path]:
        value: Any = row
        for name in meaning:
            key = _key(name, value) if isinstance(value, Mapping) else None
            if key is None:
                break
            value = value[key]
        else:
            return value
    known = [(str(key),) for key in row]
    raise _refused(f"format has an unknown field: .{'.'.join(path)}", known)


def _key(name: str, content: Mapping[str, Any]) -> str | None:
    if name in content:
        return name
    return next((key for key in content if _plain(str(key)) == _plain(name)), None)


def _title(path: Path, titles: Mapping[str, str]) -> str:
    key = _key(".".join(path), titles)
    return titles[key] if key is not None else " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", n) for n in path).upper()


def to_json(value: Any) -> str:
    """Return a value as compact ASCII JSON: one line that any terminal can print."""
    return json.dumps(value, separators=(",", ":"), default=_jsonable)


def _jsonable(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else fspath(value)


def to_text(value: Any) -> str:
    """Return a value as text for one cell or line, with unprintable characters escaped."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping) and not any(isinstance(each, (Mapping, list)) for each in value.values()):
        return escaped(",".join(f"{key}={to_text(each)}" for key, each in value.items()))
    if isinstance(value, (bool, Mapping, list, tuple)):
        return to_json(value)
    return escaped(str(value))


def escaped(text: str) -> str:
    """Return ``text`` with unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
