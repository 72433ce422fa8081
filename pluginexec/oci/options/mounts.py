"""``--volume`` and ``--mount``, as docker reads them, as mounts of an OCI spec."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pluginexec.errors import InvalidArgument
from pluginexec.linux.files import file_error
from pluginexec.oci.options.values import parse_size, refused, section

Mount = dict[str, Any]

_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
# What SELinux would need: these containers have no label of their own, so there is nothing to relabel for it.
_LABELS = ("z", "Z")
_VOLUME = "give SRC:DST[:OPTIONS], such as /data:/data:ro or ./data:/data"
_VOLUME_OPTIONS = f"the options are ro or rw, z or Z, and one of {', '.join(_PROPAGATIONS)}"
_MOUNT = "give KEY=VALUE pairs, such as type=bind,source=/data,target=/data,readonly"
_TRUE, _FALSE = ("", "1", "t", "true"), ("0", "f", "false")
# docker's other names.
_ALIASES = {"src": "source", "destination": "target", "dst": "target", "ro": "readonly"}
_COMMON = ("type", "target", "readonly")
_KEYS = {"bind": (*_COMMON, "source", "bind-propagation"), "tmpfs": (*_COMMON, "tmpfs-size", "tmpfs-mode")}


def add_mounts(spec: dict[str, Any], volumes: Sequence[str], mounts: Sequence[str]) -> list[str]:
    """Add mounts to a spec, in place of those at the same destination; return the sources of ``volumes``.

    Whatever their order on the command line, what is mounted inside another mount comes after it.
    """
    bound = [parse_volume(value) for value in volumes]
    given = [*bound, *map(parse_mount, mounts)]
    counts = Counter(mount["destination"] for mount in given)
    if twice := [place for place, count in counts.items() if count > 1]:
        raise InvalidArgument(f"--volume and --mount name {twice[0]!r} more than once; mount one thing there")
    for mount in sorted(given, key=lambda mount: mount["destination"].count("/")):
        put_mount(spec, mount)
    _set_root_propagation(spec, given)
    return [mount["source"] for mount in bound]


def put_mount(spec: dict[str, Any], mount: Mount) -> None:
    """Put a mount where that of the same destination was, else at the end."""
    mounts = spec.get("mounts") or []
    same = [index for index, other in enumerate(mounts) if _normal(other["destination"]) == mount["destination"]]
    kept = [other for index, other in enumerate(mounts) if index not in same]
    kept.insert(same[0] if same else len(kept), mount)
    spec["mounts"] = kept


def make_sources(sources: Iterable[str]) -> None:
    """Make a directory for each source of ``--volume`` that is not there, as docker does."""
    for source in sources:
        try:
            if not os.path.exists(source):
                os.makedirs(source)
        except OSError as error:
            raise file_error(error, f"--volume: directory {source!r} cannot be made") from error


def parse_volume(value: str) -> Mount:
    """Return the mount that ``SRC:DST[:OPTIONS]`` stands for."""
    source, _, rest = value.partition(":")
    target, _, words = rest.partition(":")
    if not source or not target:
        raise refused("--volume", value, f"{_VOLUME}; there are no anonymous volumes")
    options = words.split(",") if words else []
    for group in (("ro", "rw"), _LABELS, _PROPAGATIONS):
        if sum(option in group for option in options) > 1:
            raise refused("--volume", value, _VOLUME_OPTIONS)
    if not {*options} <= {"ro", "rw", *_LABELS, *_PROPAGATIONS}:
        raise refused("--volume", value, _VOLUME_OPTIONS)
    propagation = [option for option in options if option in _PROPAGATIONS]
    place = _target("--volume", value, target)
    return _bind(place, _source("--volume", value, source), "ro" in options, *propagation)


def parse_mount(value: str) -> Mount:
    """Return the mount that docker's comma-separated ``KEY=VALUE`` pairs stand for."""
    fields = _fields(value)
    kind = fields.get("type", "")
    if kind not in _KEYS:
        raise refused("--mount", value, "give type=bind or type=tmpfs; there are no other types here")
    if unknown := [key for key in fields if key not in _KEYS[kind]]:
        raise refused("--mount", value, f"{unknown[0]!r} is no key of type={kind}; those are {', '.join(_KEYS[kind])}")
    target = _target("--mount", value, fields.get("target", ""))
    read_only = _boolean(value, fields.get("readonly", "false"))
    if kind == "tmpfs":
        return _tmpfs(target, fields, read_only, value)
    source = _source("--mount", value, fields.get("source", ""))
    if not os.path.exists(source):
        raise refused("--mount", value, f"the source {source!r} is not there; make it first (--volume would)")
    propagation = fields.get("bind-propagation", _PROPAGATIONS[0])
    if propagation not in _PROPAGATIONS:
        raise refused("--mount", value, f"bind-propagation must be one of {', '.join(_PROPAGATIONS)}")
    return _bind(target, source, read_only, propagation)


def _fields(value: str) -> dict[str, str]:
    """Split ``--mount``; a value with a comma in it stands in quotes."""
    try:
        rows = list(csv.reader([value], strict=True))
    except csv.Error as error:
        raise refused("--mount", value, f"{_MOUNT} ({error})") from error
    fields = {}
    for word in rows[0] if rows else []:
        key, equals, text = word.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if not equals and key != "readonly":
            raise refused("--mount", value, _MOUNT)
        fields[key] = text
    return fields


def _bind(target: str, source: str, read_only: bool, propagation: str = _PROPAGATIONS[0]) -> Mount:
    options = ["rbind", propagation, "ro" if read_only else "rw"]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def _tmpfs(target: str, fields: dict[str, str], read_only: bool, value: str) -> Mount:
    options = ["nosuid", "nodev", "noexec", "ro" if read_only else "rw"]
    if "tmpfs-size" in fields:
        options.append(f"size={parse_size('--mount tmpfs-size', fields['tmpfs-size'])}")
    if mode := fields.get("tmpfs-mode"):
        if not set(mode) <= set("01234567") or len(mode) > 4:
            raise refused("--mount", value, "tmpfs-mode must be octal, such as 1777")
        options.append(f"mode={mode}")
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}


def _source(flag: str, value: str, source: str) -> str:
    if not source.startswith(("/", ".")):
        raise refused(flag, value, "the source must be a path that begins with / or .; there are no named volumes")
    return os.path.abspath(source)


def _target(flag: str, value: str, target: str) -> str:
    place = _normal(target)
    if not target.startswith("/") or place == "/":
        raise refused(flag, value, "the target must be an absolute path in the container, and not /")
    return place


def _normal(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")


def _boolean(value: str, text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise refused("--mount", value, "readonly must be true or false")
    return text.lower() in _TRUE


def _set_root_propagation(spec: dict[str, Any], mounts: Sequence[Mount]) -> None:
    """Let mounts reach the container, and the host, as far as a bind asks for it; else runc keeps them apart."""
    asked = {option.removeprefix("r") for mount in mounts for option in mount["options"]}
    for propagation in ("shared", "slave"):
        if propagation in asked:
            section(spec, "linux")["rootfsPropagation"] = propagation
            return
