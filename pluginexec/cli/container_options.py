"""The container options of ``run`` and ``create``, with docker's names and meanings."""

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
        help="Set an environment variable. KEY alone takes its value from the current environment, and unsets it"
        " if there is none.",
    ),
    click.option(
        "--env-file",
        multiple=True,
        metavar="FILE",
        help="Read environment variables from a file of KEY=VALUE lines; --env takes precedence. Lines with '#' are"
        " comments.",
    ),
    click.option(
        "--volume",
        "-v",
        multiple=True,
        metavar="SRC:DST[:OPTIONS]",
        help="Bind mount SRC (a path that begins with / or .; created as a directory if missing) at DST."
        " Comma-separated options: ro or rw, z or Z (accepted and ignored), and [r]private, [r]shared or [r]slave.",
    ),
    click.option(
        "--mount",
        multiple=True,
        metavar="KEY=VALUE,...",
        help="Attach a file system: type=bind,source=PATH,target=PATH[,readonly][,bind-propagation=rprivate|...], where"
        " the source must exist, or type=tmpfs,target=PATH[,readonly][,tmpfs-size=64m][,tmpfs-mode=1777].",
    ),
    click.option("--workdir", "-w", metavar="DIR", help="Working directory inside the container."),
    click.option(
        "--user",
        "-u",
        metavar="NAME|UID[:GROUP|GID]",
        help="User to run as. Names are looked up in the container's /etc/passwd and /etc/group.",
    ),
    click.option("--hostname", metavar="NAME", help="Container host name. Default: that of the host."),
    click.option(
        "--memory",
        "-m",
        metavar="SIZE",
        help="Memory limit in bytes, or with a suffix k, m or g, such as 64m. Minimum: 6m.",
    ),
    click.option("--cpus", metavar="NUMBER", help="Number of CPUs, such as 1.5."),
    click.option("--pids-limit", metavar="NUMBER", help="Limit on processes and threads; -1 for unlimited."),
    click.option(
        "--cap-add", multiple=True, metavar="NAME", help="Add a capability, such as NET_ADMIN or CAP_NET_ADMIN, or ALL."
    ),
    click.option(
        "--cap-drop", multiple=True, metavar="NAME", help="Drop a capability; ALL drops every one that is not added."
    ),
    click.option(
        "--read-only", is_flag=True, help="Mount the root file system read-only; other mounts are unaffected."
    ),
    click.option(
        "--privileged",
        is_flag=True,
        help="Give it all capabilities and devices; nothing is masked, read-only or filtered.",
    ),
    click.option(
        "--security-opt",
        multiple=True,
        metavar="OPTION",
        help="seccomp=unconfined or seccomp=FILE (a profile in docker's format or OCI's; default without a bundle:"
        " containerd's profile), no-new-privileges[=true|false] (default: true).",
    ),
    click.option(
        "--network",
        "--net",
        metavar="host|none",
        help="host: use the host's network, /etc/hosts and /etc/resolv.conf. none: a network namespace without a"
        " connection; the default without a bundle.",
    ),
    click.option("--label", "-l", multiple=True, metavar="KEY[=VALUE]", help="Set a label on the plugin."),
)


def container_options(command: _F) -> _F:
    """Add the options to a command, which receives their values as one argument, ``flags``."""

    @functools.wraps(command)
    def with_flags(*arguments: Any, **options: Any) -> Any:
        given = {each.name: options.pop(each.name) for each in fields(ContainerFlags)}
        return command(*arguments, flags=ContainerFlags(**given), **options)

    decorated: Any = with_flags
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
