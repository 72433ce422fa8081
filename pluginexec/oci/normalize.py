"""Change a spec that other tools wrote to what this package reads and a plugin can run with.

- A field of another case, such as ``Process``, gets its name: Go, and so ``ctr`` and runc, reads it as the same field.
- ``process.terminal: true``, which ``runc spec`` and ``umoci unpack`` write, becomes false, with a warning.
- Relative destinations of mounts are made absolute, as runc does.
- ``ociVersion`` of two numbers, such as ``1.0``, becomes ``1.0.0``.

A value of a wrong type stays, for the checks to refuse.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from typing import Any

from pluginexec.oci.json_reader import wrong

log = logging.getLogger(__name__)

_SHORT_VERSION = re.compile(r"[0-9]+\.[0-9]+")
# The objects of a spec in which this package reads or writes, with the fields of the OCI runtime spec 1.3; parents
# before what is in them. All others are read by Go alone.
_FIELDS = {
    "": "ociVersion process root hostname domainname mounts hooks annotations linux",
    "process": "terminal consoleSize user args env cwd capabilities rlimits noNewPrivileges apparmorProfile oomScoreAdj"
    " scheduler selinuxLabel ioPriority execCPUAffinity",
    "process.user": "uid gid umask additionalGids username",
    "process.capabilities": "bounding effective inheritable permitted ambient",
    "root": "path readonly",
    "mounts[]": "destination type source options uidMappings gidMappings",
    "linux": "uidMappings gidMappings sysctl resources cgroupsPath namespaces devices netDevices seccomp"
    " rootfsPropagation maskedPaths readonlyPaths mountLabel intelRdt memoryPolicy personality timeOffsets",
    "linux.namespaces[]": "type path",
    "linux.resources": "devices memory cpu pids blockIO hugepageLimits network rdma unified",
    "linux.resources.memory": "limit reservation swap kernel kernelTCP swappiness disableOOMKiller useHierarchy"
    " checkBeforeUpdate",
    "linux.resources.cpu": "shares quota burst period realtimeRuntime realtimePeriod cpus mems idle",
    "linux.resources.pids": "limit",
}


def normalize(spec: dict[str, Any], name: str) -> None:
    """Change ``spec`` in place; ``name`` is how errors and the warning name it.

    Raises ``InvalidArgument`` if a field is there twice, in two cases: which one Go takes depends on their order.
    """
    for path, names in _FIELDS.items():
        for where, content in _objects(spec, path):
            _rename(content, names.split(), name, where)
    version = spec.get("ociVersion")
    if isinstance(version, str) and _SHORT_VERSION.fullmatch(version):
        spec["ociVersion"] = f"{version}.0"
    process = spec.get("process")
    if isinstance(process, dict) and process.get("terminal") is True:
        process["terminal"] = False
        log.warning("%s: process.terminal is true, but a plugin has no terminal: taken as false", name)
    for _, mount in _objects(spec, "mounts[]"):
        destination = mount.get("destination")
        if isinstance(destination, str) and destination and not destination.startswith("/"):
            mount["destination"] = os.path.normpath(f"/{destination}")


def _objects(spec: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects at a path of ``_FIELDS``, each with where it is; none where something else is there."""
    value: Any = spec
    for key in path.removesuffix("[]").split(".") if path else ():
        value = value.get(key) if isinstance(value, dict) else None
    if not path.endswith("[]"):
        if isinstance(value, dict):
            yield f"{path}." if path else "", value
        return
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict):
            yield f"{path[:-1]}{index}].", item


def _rename(content: dict[str, Any], names: list[str], name: str, where: str) -> None:
    known = {each.lower(): each for each in names}
    for key in [key for key in content if key not in names and key.lower() in known]:
        field = known[key.lower()]
        if field in content:
            raise wrong(name, f"{where}{field}", f"is there as {key!r} too; remove one")
        content[field] = content.pop(key)
