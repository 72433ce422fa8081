"""Read and validate docker's plugin configuration, the ``config.json`` beside ``rootfs/``.

The fields are those of docker's PluginConfig. Their names are not case-sensitive, as in Go: people write ``workdir``,
``docker plugin inspect`` prints ``WorkDir``. An unknown field is ignored, as docker does, but logged: it may be a
misspelled one.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pluginexec.errors import InvalidArgument, shown
from pluginexec.oci.json_reader import plain_object, read_object
from pluginexec.oci.options.capabilities import NAMES

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_PROTOCOLS = ("", "moby.plugins.http/v1")
_TYPE = re.compile(r"[^/]+\.[^./]+(/[^/]*)?")
_LARGEST_ID = (1 << 32) - 2
# Docker stores these; they have no effect on a running plugin.
_UNUSED = ("description", "documentation", "dockerversion", "rootfs")
_KINDS: dict[type, str] = {str: "a string", bool: "a boolean", int: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Variable:
    """An environment variable; without a ``value`` it is not set."""

    name: str
    settable: tuple[str, ...]
    value: str | None


@dataclass(frozen=True)
class Arguments:
    """The arguments after the entrypoint."""

    name: str = ""
    settable: tuple[str, ...] = ()
    value: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mount:
    """A mount; the ``name`` may be empty, and without a ``source`` it must be set before the plugin can be enabled."""

    name: str
    settable: tuple[str, ...]
    source: str | None
    destination: str
    type: str
    options: tuple[str, ...]

    @property
    def is_bind(self) -> bool:
        """Whether it is a bind mount, as runc decides it."""
        return self.type == "bind" or bool({"bind", "rbind"}.intersection(self.options))


@dataclass(frozen=True)
class Device:
    """A device of the host, or a directory of them; without a ``path`` it must be set, as a mount's source."""

    name: str
    settable: tuple[str, ...]
    path: str | None


@dataclass(frozen=True)
class PluginConfig:
    """A valid configuration, as ``load_config`` returns it.

    - ``types``: what the plugin implements, such as ``docker.volumedriver/1.0``; ``socket``: the name of its socket
      under ``/run/docker/plugins``;
    - ``entrypoint``, ``args``, ``env``, ``workdir``: its command;
    - ``uid``, ``gid``: the user it runs as; docker ignores them, this package does not;
    - ``network``: ``host``, another type, or empty; ``pid_host``, ``ipc_host``: whether it has the host's;
    - ``mounts``, ``propagated_mount``: what it sees of the host, and the directory whose mounts the host sees;
    - ``capabilities``, ``devices``, ``allow_all_devices``: what it may do;
    - ``content``: the whole object, as it was read.
    """

    types: tuple[str, ...]
    socket: str
    entrypoint: tuple[str, ...]
    args: Arguments = Arguments()
    env: tuple[Variable, ...] = ()
    workdir: str = "/"
    uid: int = 0
    gid: int = 0
    network: str = ""
    pid_host: bool = False
    ipc_host: bool = False
    mounts: tuple[Mount, ...] = ()
    propagated_mount: str = ""
    capabilities: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    allow_all_devices: bool = False
    content: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


def capability_of(interface_type: str) -> str:
    """Return the capability of a type in lower case: ``volumedriver`` of ``docker.volumedriver/1.0``."""
    return interface_type.partition("/")[0].rpartition(".")[2].lower()


def load_config(source: Mapping[str, Any] | str | os.PathLike[str], *, quiet: bool = False) -> PluginConfig:
    """Return the validated configuration of ``source``: a dict, the path of a ``config.json``, or its directory.

    With ``quiet``, unknown fields are not logged, because they were before. Raises ``InvalidArgument`` with one line
    that names the file and every invalid field, each with what to put there; ``PermissionDenied`` if this user may not
    read the file.
    """
    if isinstance(source, Mapping):
        content, name = plain_object(source, "plugin config"), "plugin config"
    else:
        content, name, _ = read_object(source, "plugin config")
    wrong: list[str] = []
    config = _read(_Section(content, wrong), content)
    problems = [problem for problem in wrong if not problem.startswith("?")]
    if problems:
        raise InvalidArgument(f"{name}: {'; '.join(problems)}")
    for unknown in wrong if not quiet else ():
        log.warning("%s: ignoring unknown field %s", name, unknown.removeprefix("?"))
    return config


class _Section:
    """A JSON object on its way through the checks; what is wrong in it is noted, and the checks go on."""

    def __init__(self, content: dict[str, Any], wrong: list[str], prefix: str = "") -> None:
        self._wrong = wrong
        self._prefix = prefix
        self._values: dict[str, Any] = {}
        for key, value in content.items():
            if key.lower() in self._values:
                self.complain(key.lower(), "is there twice; remove one")
            self._values[key.lower()] = value

    def complain(self, name: str, problem: str) -> None:
        """Record that a field is wrong."""
        self._wrong.append(f"{self._prefix}{name} {problem}")

    def done(self) -> None:
        """Record the fields that are unknown."""
        self._wrong.extend(f"?{self._prefix}{shown(name)}" for name in self._values if name not in _UNUSED)

    def take(self, name: str, kind: type[_T], default: _T) -> _T:
        """Return the value of a field; the default where there is none, it is null, or it is of the wrong type."""
        value = self._values.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.complain(name, f"must be {_KINDS[kind]}")
            return default
        return value

    def optional(self, name: str) -> str | None:
        """Return a string, or ``None`` where there is none."""
        return self.take(name, str, "") if self._values.get(name) is not None else self._values.pop(name, None)

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self.take(name, list, [])
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.complain(f"{name}[{index}]", "must be a string")
        return tuple(value for value in values if isinstance(value, str))

    def absolute(self, name: str, default: str = "") -> str:
        """Return a path in the container, which must be absolute if there is one."""
        path = self.take(name, str, "") or default
        if path and not path.startswith("/"):
            self.complain(name, f"is {shown(path)}; give an absolute path in the container")
        return path

    def section(self, name: str) -> _Section:
        """Return the object in a field; an empty one where there is none."""
        return _Section(self.take(name, dict, {}), self._wrong, f"{self._prefix}{name}.")

    def sections(self, name: str) -> list[_Section]:
        """Return the objects in a list."""
        values = self.take(name, list, [])
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                self.complain(f"{name}[{index}]", "must be an object")
        return [
            _Section(value, self._wrong, f"{self._prefix}{name}[{index}].")
            for index, value in enumerate(values)
            if isinstance(value, dict)
        ]

    def setting(self, field: str) -> tuple[str, tuple[str, ...]]:
        """Return the name, and what ``set`` may change: ``field`` or nothing."""
        self._values.pop("description", None)
        settable = self.strings("settable")
        for index, value in enumerate(settable):
            if value != field:
                self.complain(f"settable[{index}]", f"is {shown(value)}; only {field!r} can be set")
        return self.take("name", str, ""), settable


def _read(top: _Section, content: dict[str, Any]) -> PluginConfig:
    types, socket = _interface(top.section("interface"))
    uid, gid = _user(top.section("user"))
    network = top.section("network")
    linux = top.section("linux")
    config = PluginConfig(
        types=types,
        socket=socket,
        entrypoint=_entrypoint(top),
        args=_arguments(top.section("args")),
        env=_distinct("env", top, [_variable(each) for each in top.sections("env")]),
        workdir=top.absolute("workdir", "/"),
        uid=uid,
        gid=gid,
        network=network.take("type", str, ""),
        pid_host=top.take("pidhost", bool, False),
        ipc_host=top.take("ipchost", bool, False),
        mounts=_distinct("mounts", top, [_mount(each) for each in top.sections("mounts")]),
        propagated_mount=top.absolute("propagatedmount"),
        capabilities=_capabilities(linux),
        devices=_distinct("linux.devices", top, [_device(each) for each in linux.sections("devices")]),
        allow_all_devices=linux.take("allowalldevices", bool, False),
        content=content,
    )
    for section in (network, linux, top):
        section.done()
    return config


def _entrypoint(top: _Section) -> tuple[str, ...]:
    entrypoint = top.strings("entrypoint")
    if not entrypoint or not entrypoint[0]:
        top.complain("entrypoint", "is empty; give the command as a list of strings")
    return entrypoint


def _interface(interface: _Section) -> tuple[tuple[str, ...], str]:
    types = interface.strings("types")
    for index, each in enumerate(types):
        if not _TYPE.fullmatch(each):
            interface.complain(f"types[{index}]", f"is {shown(each)}; write it as docker.volumedriver/1.0")
    socket = interface.take("socket", str, "")
    if not socket.isprintable() or "/" in socket or socket in ("", ".", ".."):
        interface.complain("socket", f"is {shown(socket)}; give the name of a file in /run/docker/plugins")
    if interface.take("protocolscheme", str, "") not in _PROTOCOLS:
        interface.complain("protocolscheme", f"is not supported; leave it out, or use {_PROTOCOLS[1]!r}")
    interface.done()
    return types, socket


def _user(user: _Section) -> tuple[int, int]:
    ids = []
    for name in ("uid", "gid"):
        number = user.take(name, int, 0)
        if not 0 <= number <= _LARGEST_ID:
            user.complain(name, f"is {shown(number)}; give a number from 0 to {_LARGEST_ID}")
        ids.append(number)
    user.done()
    return ids[0], ids[1]


def _variable(section: _Section) -> Variable:
    name, settable = section.setting("value")
    if not name or "=" in name:
        section.complain("name", f"is {shown(name)}; give the name of an environment variable")
    variable = Variable(name, settable, section.optional("value"))
    section.done()
    return variable


def _arguments(section: _Section) -> Arguments:
    name, settable = section.setting("value")
    arguments = Arguments(name, settable, section.strings("value"))
    section.done()
    return arguments


def _mount(section: _Section) -> Mount:
    name, settable = section.setting("source")
    source = section.optional("source")
    if source is None and not (name and settable):
        section.complain("source", "is missing; give one, or a name and settable: ['source']")
    destination = section.absolute("destination")
    if not destination:
        section.complain("destination", "is missing; give an absolute path in the container")
    mount = Mount(name, settable, source, destination, section.take("type", str, ""), section.strings("options"))
    if source and mount.is_bind and not source.startswith("/"):
        section.complain("source", f"is {shown(source)}; give an absolute path of the host")
    section.done()
    return mount


def _device(section: _Section) -> Device:
    name, settable = section.setting("path")
    path = section.optional("path")
    if path is None and not (name and settable):
        section.complain("path", "is missing; give one, or a name and settable: ['path']")
    if path and not path.startswith("/"):
        section.complain("path", f"is {shown(path)}; give an absolute path of the host")
    section.done()
    return Device(name, settable, path)


def _capabilities(linux: _Section) -> tuple[str, ...]:
    names = linux.strings("capabilities")
    for index, name in enumerate(names):
        if name not in NAMES:
            linux.complain(f"capabilities[{index}]", f"is {shown(name)}; give a name such as CAP_SYS_ADMIN")
    return names


_Named = TypeVar("_Named", Variable, Mount, Device)


def _distinct(name: str, top: _Section, items: list[_Named]) -> tuple[_Named, ...]:
    """Return the items; two of one name are an error, because ``set`` could change only one of them."""
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if item.name and seen.setdefault(item.name, index) != index:
            top.complain(f"{name}[{index}].name", f"is {shown(item.name)}, as that of {name}[{seen[item.name]}]")
    return tuple(items)
