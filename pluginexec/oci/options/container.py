"""The flags that shape a container, applied to an OCI spec as docker and nerdctl would."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pluginexec.oci.options.capabilities import change_capabilities
from pluginexec.oci.options.environment import changed_environment
from pluginexec.oci.options.limits import limit_cpus, limit_memory, limit_pids
from pluginexec.oci.options.mounts import add_mounts, make_sources, put_mount
from pluginexec.oci.options.security import make_privileged, parse_security
from pluginexec.oci.options.users import find_user
from pluginexec.oci.options.values import refused, section
from pluginexec.oci.spec import load_spec

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
# What a process on the host's network needs to find names there.
_HOSTS_FILES = ("/etc/hosts", "/etc/resolv.conf")


@dataclass(frozen=True)
class ContainerFlags:
    """The values of the flags, as they were given; what was not given changes nothing."""

    env: tuple[str, ...] = ()
    env_file: tuple[str, ...] = ()
    volume: tuple[str, ...] = ()
    mount: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    hostname: str | None = None
    memory: str | None = None
    cpus: str | None = None
    pids_limit: str | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    read_only: bool = False
    privileged: bool = False
    security_opt: tuple[str, ...] = ()
    network: str | None = None
    label: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """The labels; ``KEY`` alone has an empty value."""
        labels = {}
        for value in self.label:
            key, _, text = value.partition("=")
            if not key:
                raise refused("--label", value, "give KEY=VALUE, or KEY")
            labels[key] = text
        return labels

    @property
    def chooses_seccomp(self) -> bool:
        """Whether the flags say which system calls the plugin may make."""
        return self.privileged or parse_security(self.security_opt).seccomp is not None

    def apply(self, spec: dict[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
        """Return a checked spec with the flags in it; ``spec``, which was checked before, stays as it is.

        Directories that ``--volume`` names, and that are not there, are made, once all else is found to be right.
        Raises ``InvalidArgument`` for a bad value, in one line with the flag, the value, and what is allowed.
        """
        spec = copy.deepcopy(spec)
        process = section(spec, "process")
        process["env"] = changed_environment(process.get("env") or [], self.env, self.env_file, environ)
        if self.workdir is not None:
            process["cwd"] = absolute_workdir(self.workdir)
        if self.user is not None:
            section(process, "user").update(find_user(spec["root"]["path"], self.user))
        security = parse_security(self.security_opt)
        if self.privileged:
            make_privileged(spec)
        if self.cap_add or self.cap_drop:
            change_capabilities(spec, self.cap_add, self.cap_drop)
        security.apply(spec)
        if self.read_only:
            section(spec, "root")["readonly"] = True
        self._limit(spec)
        self._set_names(spec)
        # After the network, whose mounts they may replace.
        sources = add_mounts(spec, self.volume, self.mount)
        checked = load_spec(spec)
        make_sources(sources)
        return checked

    def _limit(self, spec: dict[str, Any]) -> None:
        if self.memory is not None:
            limit_memory(spec, self.memory)
        if self.cpus is not None:
            limit_cpus(spec, self.cpus)
        if self.pids_limit is not None:
            limit_pids(spec, self.pids_limit)

    def _set_names(self, spec: dict[str, Any]) -> None:
        if self.hostname is not None:
            if not _HOSTNAME.fullmatch(self.hostname):
                raise refused("--hostname", self.hostname, "give up to 64 letters, digits, '-', '_' and '.'")
            spec["hostname"] = self.hostname
            if not _namespaces(spec, "uts"):  # never the host's own
                section(spec, "linux")["namespaces"].append({"type": "uts"})
        if self.network is not None:
            _set_network(spec, self.network)


def absolute_workdir(value: str) -> str:
    """Return the value of ``--workdir`` if it is allowed."""
    if not value.startswith("/"):
        raise refused("--workdir", value, "give an absolute path in the container")
    return value


def _set_network(spec: dict[str, Any], value: str) -> None:
    if value not in ("host", "none"):
        raise refused("--network", value, "give host (the host's network) or none (one of its own, with no way out)")
    linux = section(spec, "linux")
    linux["namespaces"] = [each for each in linux["namespaces"] if each not in _namespaces(spec, "network")]
    if value == "none":
        linux["namespaces"].append({"type": "network"})
        return
    taken = [mount["destination"] for mount in spec.get("mounts") or []]
    for file in _HOSTS_FILES:
        if file not in taken and os.path.exists(file):
            options = ["rbind", "rprivate", "ro"]
            put_mount(spec, {"destination": file, "type": "bind", "source": file, "options": options})


def _namespaces(spec: dict[str, Any], kind: str) -> list[Any]:
    return [each for each in spec["linux"]["namespaces"] if isinstance(each, dict) and each.get("type") == kind]
