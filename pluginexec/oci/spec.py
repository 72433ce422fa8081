"""Read, check and build OCI runtime specs.

The checks are those that containerd and runc make late (the container exists by then), unclearly, or never: a NUL in
``process.args`` starts a container that exits with 1 without a message. Other wrong types are left to ``ctr``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pluginexec.errors import InvalidArgument
from pluginexec.oci.json_reader import JSON_NAMES, SHOWN, path_error, plain_object, read_object, wrong
from pluginexec.oci.normalize import normalize
from pluginexec.root.image_rootfs import ImageRootfs

SpecSource: TypeAlias = Mapping[str, Any] | str | os.PathLike[str]
"""What ``load_spec`` accepts: a spec as a dict, the path of a ``config.json``, or a bundle directory."""

# The OCI runtime spec demands SemVer; runc 1.1 runs anything.
_SEMVER = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?")
_T = TypeVar("_T")


def load_spec(source: SpecSource, *, args: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the checked OCI spec of ``source``: a dict, the path of a ``config.json``, or a bundle directory.

    The result is a copy, of plain JSON types only, that no longer depends on where the bundle lies: ``root.path`` is
    absolute and free of symbolic links (runc refuses a root with one anywhere in its path), and relative sources of
    bind mounts are made absolute (containerd would look for them in a directory of its own). Relative paths count from
    the bundle directory, as the OCI runtime spec says; in a dict they are refused. A field that is null counts as
    absent, as it does for containerd; fields that are not checked, such as ``hooks``, pass as they are. What ``runc
    spec``, umoci and other tools write is changed to what runs here, see ``normalize``. ``args`` replaces the command.

    Raises ``InvalidArgument`` for anything that is no spec which a plugin could run with, in one line that names the
    file, the field and the remedy; ``PermissionDenied`` where this user may not read the file or reach the root.
    """
    bundle: Path | None = None
    if isinstance(source, Mapping):
        content, name = plain_object(source, "spec"), "spec"
    else:
        content, name, file = read_object(source, "spec")
        # The parent of a link, not of what it points to: the bundle is where the caller says it is.
        bundle = file.parent
    normalize(content, name)
    if args is not None:
        process = content.setdefault("process", {})
        if isinstance(process, dict):  # else it is refused as such
            process["args"] = list(args)
    return check_spec(content, name, bundle)


@dataclass(frozen=True)
class _Object:
    """A JSON object on its way through the checks, and what an error about it has to name."""

    content: dict[str, Any]
    name: str
    bundle: Path | None
    prefix: str = ""

    def error(self, field: str, problem: str) -> InvalidArgument:
        """Return the error that ``field`` is wrong."""
        return wrong(self.name, f"{self.prefix}{field}", problem)

    def get(self, field: str, kind: type[_T]) -> _T | None:
        """Return the value at ``field``, one or two keys joined by a dot; ``None`` if there is none."""
        value: Any = self.content
        for key in field.split("."):
            if not isinstance(value, dict):
                raise self.error(field.split(".")[0], f"must be an object, not {JSON_NAMES[type(value)]}")
            if value.get(key) is None:
                # A null is absent for Go; later readers of the spec need not know.
                value.pop(key, None)
                return None
            value = value[key]
        if not isinstance(value, kind):
            raise self.error(field, f"must be {JSON_NAMES[kind]}, not {JSON_NAMES[type(value)]}")
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
            raise self.error(field, f"is {path[:SHOWN]!r}; {remedy}")

    def strings(self, field: str) -> list[str]:
        """Return the list of strings at ``field``; an empty one if there is none."""
        values = self.get(field, list) or []
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{field}[{index}]", f"must be a string, not {JSON_NAMES[type(value)]}")
        return values

    def located(self, field: str, path: str) -> str:
        """Return ``path`` as it is found from the bundle: absolute, without symbolic links."""
        if self.bundle is None and not path.startswith("/"):
            raise self.error(
                field, f"is {path[:SHOWN]!r}, but a dict has no bundle to be relative to; make it absolute"
            )
        place = (self.bundle or Path()) / path
        try:
            os.stat(place)  # it refuses a path of megabytes at once, which realpath would take hours for
            return os.path.realpath(place, strict=True)
        except (OSError, ValueError) as error:
            raise path_error(f"{self.name}: {self.prefix}{field} {path!r}", error, "give one that exists") from error


def check_spec(content: dict[str, Any], name: str, bundle: Path | None) -> dict[str, Any]:
    """Check a spec as ``load_spec`` does, in place, and return it; relative paths count from ``bundle``."""
    spec = _Object(content, name, bundle)
    version = spec.need("ociVersion", str, "name the version of the OCI runtime spec, such as '1.0.2'")
    if not _SEMVER.fullmatch(version):
        raise spec.error("ociVersion", f"is {version[:SHOWN]!r}; it must be a version such as '1.0.2'")
    _check_process(spec)
    _check_mounts(spec)
    spec.get("linux.cgroupsPath", str)
    if {"type": "mount"} not in (spec.get("linux.namespaces", list) or []):
        # runc would mount /proc and the rest on the host, under the root filesystem, and leave them there.
        raise spec.error("linux.namespaces", "has no new mount namespace; add {'type': 'mount'}")
    if ImageRootfs.of(content):
        return content  # it is mounted there when the plugin is created
    root = spec.located("root.path", spec.need("root.path", str, "give the directory with the root filesystem"))
    if not Path(root).is_dir():
        raise spec.error("root.path", f"{root!r} is not a directory; give the one with the root filesystem")
    content["root"]["path"] = root
    return content


def _check_process(spec: _Object) -> None:
    spec.get("process.terminal", bool)
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
            raise spec.error(f"mounts[{index}]", f"must be an object, not {JSON_NAMES[type(content)]}")
        mount = _Object(content, spec.name, spec.bundle, prefix=f"mounts[{index}].")
        mount.need_absolute("destination")
        source = mount.get("source", str) or ""
        # Which mounts are binds is runc's test.
        is_bind = mount.get("type", str) == "bind" or {"bind", "rbind"}.intersection(mount.strings("options"))
        if is_bind and not source.startswith("/"):
            content["source"] = mount.located("source", mount.need("source", str, "name what to bind"))
