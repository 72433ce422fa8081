"""What a plugin's configuration asks for beyond what every plugin may do: docker's list of privileges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pluginexec.managed.config import PluginConfig

# moby asks for none of these.
_OWN_NETWORKS = ("", "null", "none", "bridge")


@dataclass(frozen=True)
class Privilege:
    """One privilege, named as docker names it, and what it is asked for."""

    name: str
    values: tuple[str, ...]


def privileges(config: PluginConfig) -> list[Privilege]:
    """Return what a plugin of this configuration will be given, in docker's order.

    What ``plugin set`` may still name, such as a mount without a source, is not in it: it is granted by naming it.
    """
    return list(_privileges(config))


def _privileges(config: PluginConfig) -> Iterator[Privilege]:
    if config.network not in _OWN_NETWORKS:
        yield Privilege("network", (config.network,))
    if config.ipc_host:
        yield Privilege("host ipc namespace", ("true",))
    if config.pid_host:
        yield Privilege("host pid namespace", ("true",))
    for mount in config.mounts:
        if mount.source is not None:
            yield Privilege("mount", (mount.source,))
    for device in config.devices:
        if device.path is not None:
            yield Privilege("device", (device.path,))
    if config.allow_all_devices:
        yield Privilege("allow-all-devices", ("true",))
    if config.capabilities:
        yield Privilege("capabilities", config.capabilities)
