"""``--security-opt`` and ``--privileged``, as docker understands them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pluginexec.oci.devices import ALLOW_ALL, find_devices
from pluginexec.oci.options.capabilities import change_capabilities
from pluginexec.oci.options.seccomp import load_profile
from pluginexec.oci.options.values import refused, section

UNCONFINED = "unconfined"
_ALLOWED = "give seccomp=unconfined, seccomp=FILE or no-new-privileges[=true|false]"
_BOOLEANS = {"": True, "true": True, "false": False}
# containerd leaves these out, too: they are mounts of the plugin's own, or of another container manager.
_NOT_OF_THE_HOST = tuple(
    f"/dev/{name}/" for name in ("pts", "shm", "mqueue", "fd", "console", ".lxc", ".lxd-mounts", ".udev")
)


@dataclass(frozen=True)
class Security:
    """What ``--security-opt`` asks for; ``None`` where it says nothing."""

    seccomp: str | None = None
    no_new_privileges: bool | None = None

    def apply(self, spec: dict[str, Any]) -> None:
        """Change a spec; after its capabilities, which a profile may depend on."""
        if self.no_new_privileges is not None:
            section(spec, "process")["noNewPrivileges"] = self.no_new_privileges
        if self.seccomp == UNCONFINED:
            section(spec, "linux").pop("seccomp", None)
        elif self.seccomp is not None:
            section(spec, "linux")["seccomp"] = load_profile(self.seccomp, bounding(spec))


def parse_security(values: Sequence[str]) -> Security:
    """Return what the values of ``--security-opt`` ask for; the later one wins."""
    seccomp: str | None = None
    no_new_privileges: bool | None = None
    for value in values:
        # docker's older form has a colon.
        separator = "=" if "=" in value else ":"
        key, _, text = value.partition(separator)
        if key == "seccomp" and text:
            seccomp = text
        elif key == "no-new-privileges" and text in _BOOLEANS:
            no_new_privileges = _BOOLEANS[text]
        else:
            raise refused("--security-opt", value, _ALLOWED)
    return Security(seccomp, no_new_privileges)


def bounding(spec: dict[str, Any]) -> list[str]:
    """Return the capabilities that the plugin can have at most."""
    return list(section(spec, "process.capabilities").get("bounding") or [])


def make_privileged(spec: dict[str, Any]) -> None:
    """Give a plugin all capabilities and devices; nothing is masked, read-only or filtered."""
    change_capabilities(spec, ["ALL"], [])
    linux = section(spec, "linux")
    for field in ("seccomp", "maskedPaths", "readonlyPaths"):
        linux.pop(field, None)
    section(spec, "process").pop("apparmorProfile", None)
    devices, _ = find_devices(["/dev"])
    linux["devices"] = [each for each in devices if not f"{each['path']}/".startswith(_NOT_OF_THE_HOST)]
    section(spec, "linux.resources")["devices"] = list(ALLOW_ALL)
    for mount in spec.get("mounts") or []:
        if mount.get("type") in ("sysfs", "cgroup", "cgroup2"):
            mount["options"] = ["rw" if option == "ro" else option for option in mount.get("options") or []]
