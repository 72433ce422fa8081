"""The options that shape a container, which ``run`` and ``create`` share; they have docker's names and meanings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from pluginexec.oci.options.container import ContainerFlags

__all__ = ["ContainerFlags", "container_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--env",
        "-e",
        multiple=True,
        metavar="KEY[=VALUE]",
        help="Set an environment variable. KEY alone: as it is set here; where it is not, it is removed.",
    ),
    click.option(
        "--env-file",
        multiple=True,
        metavar="FILE",
        help="Set the variables of a file with KEY=VALUE lines; --env wins. Lines with '#' are comments.",
    ),
    click.option(
        "--volume",
        "-v",
        multiple=True,
        metavar="SRC:DST[:OPTIONS]",
        help="Bind SRC (a path from / or .; a directory is made if it is not there) to DST in the container. Options,"
        " joined by commas: ro or rw, z or Z (accepted, not needed), and [r]private, [r]shared or [r]slave.",
    ),
    click.option(
        "--mount",
        multiple=True,
        metavar="KEY=VALUE,...",
        help="type=bind,source=PATH,target=PATH[,readonly][,bind-propagation=rprivate|...] for a path that is there,"
        " or type=tmpfs,target=PATH[,readonly][,tmpfs-size=64m][,tmpfs-mode=1777].",
    ),
    click.option("--workdir", "-w", metavar="DIR", help="The working directory in the container."),
    click.option(
        "--user",
        "-u",
        metavar="NAME|UID[:GROUP|GID]",
        help="Who the process runs as. Names are looked up in the container's /etc/passwd and /etc/group.",
    ),
    click.option("--hostname", metavar="NAME", help="The container's host name; by default the host's."),
    click.option(
        "--memory", "-m", metavar="SIZE", help="Limit memory: bytes, or with k, m, g, such as 64m; at least 6m."
    ),
    click.option("--cpus", metavar="NUMBER", help="Limit CPU time to that of so many CPUs, such as 1.5."),
    click.option("--pids-limit", metavar="NUMBER", help="Limit processes and threads; -1 for no limit."),
    click.option(
        "--cap-add", multiple=True, metavar="NAME", help="Add a capability, such as NET_ADMIN or CAP_NET_ADMIN; or ALL."
    ),
    click.option("--cap-drop", multiple=True, metavar="NAME", help="Drop a capability, or ALL but those added."),
    click.option("--read-only", is_flag=True, help="Make the root file system read-only; mounts stay as they are."),
    click.option(
        "--network",
        "--net",
        metavar="host|none",
        help="host: the host's network, with its /etc/hosts and /etc/resolv.conf. none: its own, with no way out; that"
        " is the default without a bundle.",
    ),
    click.option("--label", "-l", multiple=True, metavar="KEY[=VALUE]", help="Set a label of the plugin."),
)


def container_options(command: _F) -> _F:
    """Add the options to a command, which gets their values as one argument, ``flags``."""

    @functools.wraps(command)
    def with_flags(*arguments: Any, **options: Any) -> Any:
        given = {each.name: options.pop(each.name) for each in fields(ContainerFlags)}
        return command(*arguments, flags=ContainerFlags(**given), **options)

    decorated: Any = with_flags
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
