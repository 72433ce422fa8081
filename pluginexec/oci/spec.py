"""Read, check and build OCI runtime specs.

The checks are those that containerd and runc make late (the container exists by then), unclearly, or never: a NUL in
``process.args`` starts a container that exits with 1 without a message. Other wrong types are left to ``ctr``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pluginexec.errors import InvalidArgument, PermissionDenied, PluginExecError, shown
from pluginexec.linux.cgroups import default_cgroups_path
from pluginexec.validation import check_id

SpecSource: TypeAlias = Mapping[str, Any] | str | os.PathLike[str]
"""What ``load_spec`` accepts: a spec as a dict, the path of a ``config.json``, or a bundle directory."""

_CONFIG = "config.json"
# containerd's default limit for a gRPC message: a larger spec could not reach it.
_LARGEST_FILE = 16 << 20
# Against cycles, and for json, which recurses; a real spec is 8 deep.
_DEEPEST = 100
# Against a dict of lists that hold each other many times over; a real spec has some hundreds.
_MOST_VALUES = 100_000
_SHOWN = 100
# The OCI runtime spec demands SemVer; runc 1.1 runs anything.
_SEMVER = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?")
_T = TypeVar("_T")
# fmt: off
_JSON_NAMES: dict[type, str] = {
    dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
    type(None): "null",
}
# The values below are what `ctr oci spec` prints, alike in containerd 1.6.20, 1.7.24 and 2.1.9; it masks
# /sys/devices/virtual/powercap from 1.7 on (CVE-2020-8694: power readings tell of other processes' secrets).
_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)
_TMPFS_OPTIONS = ("nosuid", "strictatime", "mode=755", "size=65536k")
_INERT = ("nosuid", "noexec", "nodev")
# Destination, type, source, options; in the order in which they are mounted.
_MOUNTS = (
    ("/proc", "proc", "proc", _INERT),
    ("/dev", "tmpfs", "tmpfs", _TMPFS_OPTIONS),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/shm", "tmpfs", "shm", (*_INERT, "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", _INERT),
    ("/sys", "sysfs", "sysfs", (*_INERT, "ro")),
    ("/run", "tmpfs", "tmpfs", _TMPFS_OPTIONS),
)
_MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi",
)
# fmt: on
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# containerd's default where an image names none; without any, runc finds only commands given with their whole path.
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def load_spec(source: SpecSource) -> dict[str, Any]:
    """Return the checked OCI spec of ``source``: a dict, the path of a ``config.json``, or a bundle directory.

    The result is a copy, of plain JSON types only, that no longer depends on where the bundle lies: ``root.path`` is
    absolute and free of symbolic links (runc refuses a root with one anywhere in its path), and relative sources of
    bind mounts are made absolute (containerd would look for them in a directory of its own). Relative paths count from
    the bundle directory, as the OCI runtime spec says; in a dict they are refused. A field that is null counts as
    absent, as it does for containerd; fields that are not checked, such as ``hooks``, pass as they are.

    Raises ``InvalidArgument`` for anything that is no spec which a plugin could run with, in one line that names the
    file, the field and the remedy; ``PermissionDenied`` where this user may not read the file or reach the root.
    """
    if isinstance(source, Mapping):
        return _checked(plain_json(source, "spec"), "spec", None)
    content, name, file = read_json(source, "spec")
    # The parent of a link, not of what it points to: the bundle is where the caller says it is.
    return _checked(content, name, file.parent)


def read_json(source: str | os.PathLike[str], what: str) -> tuple[Any, str, Path]:
    """Return the JSON of a ``config.json``, or of the one in a directory; how errors name it; and its path."""
    path = _path(f"{what} must be a dict or a path", source)
    try:
        file = path / _CONFIG if path.is_dir() else path
        name = f"{what} {str(file)!r}"
        data = _read(file, name)
    except (OSError, ValueError) as error:
        # An OSError names what it is about; a ValueError (a NUL, a lone surrogate) does not.
        name = f"{what} {str(getattr(error, 'filename', None) or path)!r}"
        raise _refused(name, error, f"give a {_CONFIG}, or a bundle directory with one in it") from error
    return plain_json(_parse(data, name), name), name, file


def default_spec(
    rootfs: str | os.PathLike[str], args: Sequence[str], *, id: str, env: Sequence[str] | None = None, cwd: str = "/"
) -> dict[str, Any]:
    """Return an OCI spec that runs ``args`` as root on the bare root filesystem in the directory ``rootfs``.

    ``env`` holds ``KEY=VALUE`` strings, added to containerd's default ``PATH`` unless one of them sets that; ``cwd`` is
    an absolute path in the container. A relative ``rootfs`` counts from this process's working directory.

    Namespaces, mounts, the 14 capabilities (none inheritable or ambient), masked and read-only paths, no new
    privileges, 1,024 file descriptors, and no devices but those that runc adds (``/dev/null`` and its like) are
    containerd's defaults, as ``ctr oci spec`` prints them. ``ociVersion`` is the OCI runtime spec's that containerd 1.6
    to 2.1 all read. ``linux.cgroupsPath`` is our own: ``/pluginexec/<id>``. The host name stays the host's.

    Raises what ``load_spec`` raises, which the result has passed, and ``InvalidArgument`` for a bad ``id``.
    """
    check_id(id)
    given = _listed("env", env or ())
    has_path = any(isinstance(entry, str) and entry.startswith("PATH=") for entry in given)
    process = {
        "user": {"uid": 0, "gid": 0},
        "args": _listed("args", args),
        "env": given if has_path else [_PATH, *given],
        "cwd": cwd,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }
    linux = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "cgroupsPath": default_cgroups_path(id),
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
        "maskedPaths": _MASKED_PATHS,
        "readonlyPaths": _READONLY_PATHS,
    }
    mounts = [dict(zip(("destination", "type", "source", "options"), mount, strict=True)) for mount in _MOUNTS]
    root = {"path": str(_path("rootfs must be a path", rootfs))}
    spec = {"ociVersion": "1.0.2", "process": process, "root": root, "mounts": mounts, "linux": linux}
    return _checked(plain_json(spec, "spec"), "spec", Path())


@dataclass(frozen=True)
class _Object:
    """A JSON object on its way through the checks, and what an error about it has to name."""

    content: dict[str, Any]
    name: str
    bundle: Path | None
    prefix: str = ""

    def error(self, field: str, problem: str) -> InvalidArgument:
        """Return the error that ``field`` is wrong."""
        return _wrong(self.name, f"{self.prefix}{field}", problem)

    def get(self, field: str, kind: type[_T]) -> _T | None:
        """Return the value at ``field``, one or two keys joined by a dot; ``None`` if there is none."""
        value: Any = self.content
        for key in field.split("."):
            if not isinstance(value, dict):
                raise self.error(field.split(".")[0], f"must be an object, not {_JSON_NAMES[type(value)]}")
            if value.get(key) is None:
                # A null is absent for Go; later readers of the spec need not know.
                value.pop(key, None)
                return None
            value = value[key]
        if not isinstance(value, kind):
            raise self.error(field, f"must be {_JSON_NAMES[kind]}, not {_JSON_NAMES[type(value)]}")
        return value

    def need(self, field: str, kind: type[_T], remedy: str) -> _T:
        """Return the value at ``field``; where there is none, or an empty one, say what to put there."""
        value = self.get(field, kind)
        if not value:
            raise self.error(field, f"is {'missing' if value is None else 'empty'}; {remedy}")
        return value

    def need_absolute(self, field: str) -> None:
        """Refuse anything but an absolute path at ``field``."""
        remedy = "give an absolute path in the container, such as '/'"
        path = self.need(field, str, remedy)
        if not path.startswith("/"):
            raise self.error(field, f"is {path[:_SHOWN]!r}; {remedy}")

    def strings(self, field: str) -> list[str]:
        """Return the list of strings at ``field``; an empty one if there is none."""
        values = self.get(field, list) or []
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{field}[{index}]", f"must be a string, not {_JSON_NAMES[type(value)]}")
        return values

    def located(self, field: str, path: str) -> str:
        """Return ``path`` as it is found from the bundle: absolute, without symbolic links."""
        if self.bundle is None and not path.startswith("/"):
            raise self.error(
                field, f"is {path[:_SHOWN]!r}, but a dict has no bundle to be relative to; make it absolute"
            )
        place = (self.bundle or Path()) / path
        try:
            os.stat(place)  # it refuses a path of megabytes at once, which realpath would take hours for
            return os.path.realpath(place, strict=True)
        except (OSError, ValueError) as error:
            raise _refused(f"{self.name}: {self.prefix}{field} {path!r}", error, "give one that exists") from error


def _checked(content: object, name: str, bundle: Path | None) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise _wrong(name, "", f"must be a json object, not {_JSON_NAMES[type(content)]}")
    spec = _Object(content, name, bundle)
    version = spec.need("ociVersion", str, "name the version of the OCI runtime spec, such as '1.0.2'")
    if not _SEMVER.fullmatch(version):
        raise spec.error("ociVersion", f"is {version[:_SHOWN]!r}; it must be a version such as '1.0.2'")
    _check_process(spec)
    _check_mounts(spec)
    spec.get("linux.cgroupsPath", str)
    if {"type": "mount"} not in (spec.get("linux.namespaces", list) or []):
        # runc would mount /proc and the rest on the host, under the root filesystem, and leave them there.
        raise spec.error("linux.namespaces", "has no new mount namespace; add {'type': 'mount'}")
    root = spec.located("root.path", spec.need("root.path", str, "give the directory with the root filesystem"))
    if not Path(root).is_dir():
        raise spec.error("root.path", f"{root!r} is not a directory; give the one with the root filesystem")
    content["root"]["path"] = root
    return content


def _check_process(spec: _Object) -> None:
    if spec.get("process.terminal", bool):
        raise spec.error("process.terminal", "is true, but a plugin has no terminal; set it to false")
    command = "give the command as a list of strings"
    spec.need("process.args", list, command)
    if not spec.strings("process.args")[0]:
        raise spec.error("process.args[0]", f"is empty; {command}")
    spec.need_absolute("process.cwd")
    for index, entry in enumerate(spec.strings("process.env")):
        if entry.find("=") < 1:
            # Not the entry itself: it may be a secret.
            raise spec.error(f"process.env[{index}]", "is not of the form KEY=VALUE; write it so, or remove it")


def _check_mounts(spec: _Object) -> None:
    for index, content in enumerate(spec.get("mounts", list) or []):
        if not isinstance(content, dict):
            raise spec.error(f"mounts[{index}]", f"must be an object, not {_JSON_NAMES[type(content)]}")
        mount = _Object(content, spec.name, spec.bundle, prefix=f"mounts[{index}].")
        mount.need_absolute("destination")
        source = mount.get("source", str) or ""
        # Which mounts are binds is runc's test.
        is_bind = mount.get("type", str) == "bind" or {"bind", "rbind"}.intersection(mount.strings("options"))
        if is_bind and not source.startswith("/"):
            content["source"] = mount.located("source", mount.need("source", str, "name what to bind"))


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
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _wrong(name, "", f"not utf-8 at byte {error.start}; write it as json in utf-8") from error
    except json.JSONDecodeError as error:
        said = error.msg[:1].lower() + error.msg[1:]
        raise _wrong(name, "", f"not json at line {error.lineno}:{error.colno}: {said}; correct it there") from error
    except RecursionError as error:
        raise _wrong(name, "", f"nested deeper than {_DEEPEST} levels; no spec needs that") from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise _wrong(name, "", "holds an integer beyond 64 bits; containerd could not read it") from error


def plain_json(value: object, name: str, field: str = "", depth: int = 0, count: Iterator[int] | None = None) -> Any:
    """Copy ``value``, all the way down, as plain JSON types; refuse what would not survive the way to containerd."""
    count = count or itertools.count()
    if next(count) > _MOST_VALUES:
        raise _wrong(name, "", f"holds over {_MOST_VALUES:,} values; no spec needs that")
    if value is None or isinstance(value, (str, int, float)):
        return _plain_scalar(value, name, field)
    if depth > _DEEPEST:
        raise _wrong(name, "", f"nested deeper than {_DEEPEST} levels; no spec needs that")
    if isinstance(value, (list, tuple)):
        return [plain_json(item, name, f"{field}[{index}]", depth + 1, count) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        raise _wrong(name, field, f"is a {type(value).__name__}, which json cannot hold; convert it")
    copy = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _wrong(name, field, f"has a key of type {type(key).__name__}; use strings as keys")
        inner = f"{field}.{key[:_SHOWN] if key.isprintable() else repr(key[:_SHOWN])}".lstrip(".")
        copy[_plain_scalar(key, name, inner)] = plain_json(item, name, inner, depth + 1, count)
    return copy


def _plain_scalar(value: Any, name: str, field: str) -> Any:
    if isinstance(value, str):
        if "\0" in value:
            raise _wrong(name, field, "holds a NUL character, which no path or argument can; remove it")
        try:
            return value.encode().decode()
        except UnicodeEncodeError as error:
            # ctr would put U+FFFD in its place, and say nothing.
            raise _wrong(name, field, "has a lone surrogate, which utf-8 cannot hold; remove it") from error
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise _wrong(name, field, "is an integer beyond 64 bits; containerd could not read it")
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(name, field, f"is {value}, which json cannot hold; give a finite number")
    return int(value) if isinstance(value, int) else float(value)


def _listed(what: str, value: object) -> list[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise InvalidArgument(f"{what} must be a list of strings, not one {type(value).__name__}")
    return list(itertools.islice(value, _MOST_VALUES))  # a range may be without end, nearly


def _path(what: str, value: Any) -> Path:
    path = value
    with contextlib.suppress(TypeError):  # it is no path, and refused as such
        path = os.fspath(value)
    if not isinstance(path, str) or not path:  # Path("") would be the working directory
        raise InvalidArgument(f"{what}, not {shown(path)}")
    return Path(path)


def _wrong(name: str, field: str, problem: str) -> InvalidArgument:
    return InvalidArgument(f"{name}: {field} {problem}" if field else f"{name}: {problem}")


def _refused(name: str, error: OSError | ValueError, remedy: str) -> PluginExecError:
    """Turn what the system said about the path that ``name`` ends with into an error of the tree."""
    said = ((isinstance(error, OSError) and error.strerror) or str(error)).lower()
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{name}: {said}; let this user read it, or run as one who may")
    return InvalidArgument(f"{name}: {said}; {remedy}")
