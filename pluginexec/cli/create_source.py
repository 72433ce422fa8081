"""What a plugin is made from: an image, a bundle, or a bare root file system."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from pluginexec.cli.container_options import ContainerFlags
from pluginexec.cli.globals import Settings
from pluginexec.cli.images import drawing, images_of
from pluginexec.daemon.private import ensure_running
from pluginexec.errors import InvalidArgument, NotFound, shown
from pluginexec.images.archives import is_archive
from pluginexec.images.reference import parse_reference
from pluginexec.images.store import Images
from pluginexec.linux.cgroups import cgroups_path_of, default_cgroups_path
from pluginexec.oci.default_spec import default_spec
from pluginexec.oci.spec import load_spec
from pluginexec.validation import parse_signal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The spec before the flags are applied, and the image that it is of."""

    spec: dict[str, Any]
    flags: ContainerFlags
    """Those that are still to be applied."""
    is_bundle: bool = False
    image: str = ""
    digest: str = ""
    stop_signal: str = ""
    """That of the image."""


def find_source(
    settings: Settings, flags: ContainerFlags, id: str, arguments: Sequence[str], options: dict[str, Any]
) -> Source:
    """Return what ``run`` and ``create`` were asked to make a plugin from; an image that is missing is pulled."""
    rootfs, entrypoint = options["rootfs"], options["entrypoint"]
    if rootfs is not None:
        if not arguments:
            raise click.UsageError("missing the command to run on the root file system")
        return Source(default_spec(rootfs, arguments, id=id), flags)
    if not arguments:
        raise click.UsageError("expected an image, a bundle directory such as ./BUNDLE, or --rootfs DIR and a command")
    if not is_path(arguments[0]):
        return _image(settings, flags, id, arguments, options)
    if entrypoint is not None:
        raise click.UsageError("--entrypoint is for images; give the command behind the bundle instead")
    spec = load_spec(arguments[0], args=arguments[1:] or None)
    spec["linux"]["cgroupsPath"] = _own_cgroup(cgroups_path_of(spec).rstrip("/"), id)
    return Source(spec, flags, is_bundle=True)


def is_path(argument: str) -> bool:
    """Return whether an argument is a bundle and not an image: it says so by how it begins."""
    return argument in (".", "..") or argument.startswith(("/", "./", "../"))


def _image(
    settings: Settings, flags: ContainerFlags, id: str, arguments: Sequence[str], options: dict[str, Any]
) -> Source:
    name, platform, entrypoint = arguments[0], options["platform"], options["entrypoint"]
    if not is_archive(name):
        parse_reference(name)  # before anything is started
    images = images_of(settings, ensure_running(settings.address, settings.layout, settings.timeout))
    _check_no_directory(images, name)
    stored = images.resolve(name, pull=options["pull"], platform=platform, progress=drawing())
    spec = images.spec(
        stored,
        arguments[1:],
        id=id,
        root=settings.layout.state,
        changes=settings.layout.plugins / id / "changes",
        entrypoint=None if entrypoint is None else [entrypoint] if entrypoint else [],
        user=flags.user,
        platform=platform,
    )
    stop_signal = images.config(stored, platform=platform).stop_signal
    try:
        parse_signal(stop_signal or "SIGTERM")
    except InvalidArgument as error:
        log.warning("the image's stop signal is not used: %s", error)
        stop_signal = ""
    # The user has been looked up in the image: its root file system is not mounted yet.
    return Source(spec, replace(flags, user=None), image=name, digest=stored.digest, stop_signal=stop_signal)


def _check_no_directory(images: Images, name: str) -> None:
    """Refuse a name that is a directory here, unless there is such an image: nothing is pulled by mistake."""
    if is_archive(name) or not Path(name).is_dir():
        return
    try:
        images.find(name)
    except NotFound as error:
        raise InvalidArgument(
            f"no image {shown(name)} is stored, and there is a directory of that name",
            hint=f"type ./{name} to run that as a bundle, or pull the image first",
        ) from error


def _own_cgroup(asked: str, id: str) -> str:
    """Return a cgroup that no other plugin of the bundle has: to pause one would pause all, its end would end all."""
    if not asked:
        return default_cgroups_path(id)
    return asked if asked.endswith(f"/{id}") else f"{asked}/{id}"
