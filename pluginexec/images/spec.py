"""The spec of a plugin that runs an image: containerd's default, with what the image's configuration asks for.

The rules are containerd's (``oci.WithImageConfigArgs``, ``WithUser``, ``WithAdditionalGIDs``), which are docker's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pluginexec.errors import InvalidArgument
from pluginexec.images.config import ImageConfig
from pluginexec.oci.default_spec import default_spec
from pluginexec.oci.options.users import find_user


def image_arguments(config: ImageConfig, args: Sequence[str], entrypoint: Sequence[str] | None, name: str) -> list[str]:
    """Return the command: the entrypoint, then the caller's arguments or else those of the image.

    An ``entrypoint`` of the caller takes the place of both of the image's; an empty one means none. Raises
    ``InvalidArgument`` where that leaves nothing.
    """
    own = [*config.entrypoint, *(args or config.cmd)]
    command = own if entrypoint is None else [*entrypoint, *args]
    if not command:
        raise InvalidArgument(
            f"image {name} names no command, and none was given", hint="give a command after the image"
        )
    return command


def merged_environment(config: ImageConfig, env: Sequence[str]) -> list[str]:
    """Return the image's environment with the caller's ``KEY=VALUE`` in place of what has the same name."""
    variables: dict[str, str] = {}
    for entry in (*config.env, *env):
        key, equals, value = entry.partition("=")
        if key and equals:
            variables[key] = value
    return [f"{key}={value}" for key, value in variables.items()]


def image_spec(
    config: ImageConfig,
    root: str,
    args: Sequence[str],
    *,
    id: str,
    name: str,
    env: Sequence[str] = (),
    entrypoint: Sequence[str] | None = None,
    seccomp: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the spec of a plugin, without its user: that takes a look into the layers.

    ``root`` is where the image's root file system will be mounted.
    """
    spec = default_spec(
        "/",  # any directory that is there: the image's is mounted later
        image_arguments(config, args, entrypoint, name),
        id=id,
        env=merged_environment(config, env),
        cwd=config.working_dir if config.working_dir.startswith("/") else f"/{config.working_dir}",
        seccomp=seccomp,
    )
    spec["root"]["path"] = root
    return spec


def image_user(root: str, user: str) -> dict[str, Any]:
    """Return the ``user`` of the process, by the passwd and group files of the root file system at ``root``."""
    # Without a user it is root, with the groups that /etc/group gives root, as docker has it.
    return find_user(root, user or "0")
