"""The settings of a plugin, and their changes in the syntax of ``docker plugin set``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pluginexec.errors import InvalidArgument, shown
from pluginexec.managed.config import PluginConfig


@dataclass(frozen=True)
class Settings:
    """The values that a plugin is enabled with.

    ``env`` (``NAME=VALUE``) and ``args`` are complete; ``mounts`` (sources) and ``devices`` (paths) have, by name, only
    those with a name and a value.
    """

    env: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    mounts: dict[str, str] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return them as plain JSON types."""
        return {
            "env": list(self.env),
            "args": list(self.args),
            "mounts": dict(self.mounts),
            "devices": dict(self.devices),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Settings:
        """Return the settings that ``to_json`` returned."""
        return cls(
            env=list(content["env"]),
            args=list(content["args"]),
            mounts=dict(content["mounts"]),
            devices=dict(content["devices"]),
        )


def default_settings(config: PluginConfig) -> Settings:
    """Return the values in the configuration."""
    return Settings(
        env=[f"{each.name}={each.value}" for each in config.env if each.value is not None],
        args=list(config.args.value),
        mounts={each.name: each.source for each in config.mounts if each.name and each.source is not None},
        devices={each.name: each.path for each in config.devices if each.name and each.path is not None},
    )


def changed(config: PluginConfig, settings: Settings, pairs: Iterable[str]) -> Settings:
    """Return ``settings`` with the changes of ``docker plugin set``; all of them, or none.

    A pair is ``NAME[.FIELD]=VALUE``, of an environment variable (``DEBUG=1``), a mount (``state.source=/srv``), a
    device (``disk.path=/dev/sdb``) or the arguments (``args=--verbose --fast``, split at single spaces). ``FIELD`` is
    optional. Raises ``InvalidArgument`` for a name that is not in the configuration or not settable.
    """
    if isinstance(pairs, str):
        raise InvalidArgument(f"settings must be a list of strings, not one: [{shown(pairs)}]")
    for pair in pairs:
        name, field, value = _parsed(pair)
        settings = _changed(config, settings, name, field, value)
    return settings


def _parsed(pair: str) -> tuple[str, str, str]:
    """Split a pair as docker does: no ``=`` is an empty value, and the field is what follows the last dot."""
    if not isinstance(pair, str) or not pair or pair.startswith("="):
        raise InvalidArgument(f"setting {shown(pair)} is not of the form NAME[.FIELD]=VALUE")
    key, _, value = pair.partition("=")
    name, dot, field = key.rpartition(".")
    return (name, field, value) if dot and name else (key, "", value)


def _changed(config: PluginConfig, settings: Settings, name: str, field: str, value: str) -> Settings:
    # In docker's order: the first one with this name is changed.
    for variable in config.env:
        if variable.name == name:
            _check_settable(name, field, "value", variable.settable)
            return replace(settings, env=_with_variable(settings.env, name, value))
    for mount in config.mounts:
        if mount.name == name:
            _check_settable(name, field, "source", mount.settable)
            return replace(settings, mounts={**settings.mounts, name: value})
    for device in config.devices:
        if device.name == name:
            _check_settable(name, field, "path", device.settable)
            return replace(settings, devices={**settings.devices, name: value})
    if config.args.name == name:
        _check_settable(name, field, "value", config.args.settable)
        return replace(settings, args=value.split(" "))
    raise InvalidArgument(f"setting {shown(name)} is not in the plugin's configuration", hint=_possible(config))


def _check_settable(name: str, field: str, allowed: str, settable: Sequence[str]) -> None:
    if (field or allowed) != allowed or allowed not in settable:
        raise InvalidArgument(f"{shown(f'{name}.{field}' if field else name)} is not settable")


def _with_variable(env: Sequence[str], name: str, value: str) -> list[str]:
    entry = f"{name}={value}"
    if any(each.partition("=")[0] == name for each in env):
        return [entry if each.partition("=")[0] == name else each for each in env]
    return [*env, entry]


def _possible(config: PluginConfig) -> str:
    groups = (config.env, config.mounts, config.devices, (config.args,))
    named = [each.name for group in groups for each in group if each.settable]
    return f"it can set {', '.join(named)}" if named else "it has nothing that can be set"
