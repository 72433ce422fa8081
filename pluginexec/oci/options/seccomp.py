"""A seccomp profile from a file: as the OCI runtime spec has it, or in docker's form, which depends on the machine.

docker's form has an ``archMap``, and rules with ``includes`` and ``excludes``: a runtime would not know these, and take
such a rule for one without a condition.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pluginexec.linux.machine import kernel_version
from pluginexec.oci.json_reader import read_object, wrong

# docker's names of what uname calls otherwise; and libseccomp's.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "x86", "i386": "x86"}
_SECCOMP_NAMES = {"amd64": "X86_64", "arm64": "AARCH64", "ppc64le": "PPC64LE", "riscv64": "RISCV64"}
_CONDITIONS = ("includes", "excludes")
_REMEDY = "give a file with a profile of docker's or of the OCI runtime spec"


@dataclass(frozen=True)
class _Machine:
    """What the conditions of a rule are about."""

    architecture: str
    kernel: tuple[int, int]
    capabilities: frozenset[str]


def load_profile(file: str, capabilities: Iterable[str]) -> dict[str, Any]:
    """Return the profile in a file as the spec's ``linux.seccomp``, for a plugin with these capabilities.

    Raises ``InvalidArgument`` for what is not a profile, ``PermissionDenied`` for what this user may not read.
    """
    content, name, _ = read_object(file, "seccomp profile", _REMEDY)
    if not isinstance(content.get("defaultAction"), str):
        raise wrong(name, "defaultAction", f"is not a string; {_REMEDY}")
    uname = os.uname()
    architecture = _ARCHITECTURES.get(uname.machine, uname.machine)
    machine = _Machine(architecture, kernel_version(uname.release), frozenset(capabilities))
    profile = {key: value for key, value in content.items() if key != "archMap"}
    if content.get("archMap"):
        profile["architectures"] = _architectures(_objects(content, "archMap", name), architecture, name)
    profile["syscalls"] = [
        _plain(rule, name) for rule in _objects(content, "syscalls", name) if _applies(rule, machine, name)
    ]
    return profile


def _architectures(table: list[dict[str, Any]], architecture: str, name: str) -> list[str]:
    """Return what ``archMap`` has for this machine: its own architecture, and those that run on it."""
    own = f"SCMP_ARCH_{_SECCOMP_NAMES.get(architecture, architecture.upper())}"
    for entry in table:
        if entry.get("architecture") == own:
            return [own, *_strings(entry, "subArchitectures", name)]
    return []


def _applies(rule: dict[str, Any], machine: _Machine, name: str) -> bool:
    """Return whether a rule is for this machine and these capabilities, as docker decides it."""
    includes, excludes = (_condition(rule, field, name) for field in _CONDITIONS)
    arches, caps = (_strings(includes, field, name) for field in ("arches", "caps"))
    if (arches and machine.architecture not in arches) or not machine.capabilities.issuperset(caps):
        return False
    since, until = (_kernel(condition, name) for condition in (includes, excludes))
    if (since and machine.kernel < since) or (until and machine.kernel >= until):
        return False
    if machine.architecture in _strings(excludes, "arches", name):
        return False
    return not machine.capabilities.intersection(_strings(excludes, "caps", name))


def _kernel(condition: dict[str, Any], name: str) -> tuple[int, int] | None:
    """Return the version that a condition begins at; ``None`` if it names none."""
    value = condition.get("minKernel")
    version = kernel_version(value) if isinstance(value, str) else (0, 0)
    if value is not None and version == (0, 0):
        raise wrong(name, "minKernel", f"is not a version such as 4.8; {_REMEDY}")
    return version if value is not None else None


def _plain(rule: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a rule as runtimes know it; docker's oldest form has one ``name``."""
    plain = {key: value for key, value in rule.items() if key not in (*_CONDITIONS, "name", "comment")}
    if isinstance(rule.get("name"), str):
        plain["names"] = [rule["name"], *_strings(rule, "names", name)]
    return plain


def _objects(content: dict[str, Any], field: str, name: str) -> list[dict[str, Any]]:
    values = content.get(field) or []
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise wrong(name, field, f"must be a list of objects; {_REMEDY}")
    return values


def _condition(rule: dict[str, Any], field: str, name: str) -> dict[str, Any]:
    value = rule.get(field) or {}
    if not isinstance(value, dict):
        raise wrong(name, f"syscalls: {field}", f"must be an object; {_REMEDY}")
    return value


def _strings(content: dict[str, Any], field: str, name: str) -> list[str]:
    values = content.get(field) or []
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise wrong(name, field, f"must be a list of strings; {_REMEDY}")
    return values
