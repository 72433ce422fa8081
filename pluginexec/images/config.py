"""The manifest and the configuration of an image: what OCI's image specification says of them, read with bounds."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pluginexec.errors import InvalidArgument, NotFound, shown
from pluginexec.oci.json_reader import parse_object

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_DEEPEST_INDEX = 4
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
# What the kernel calls a machine, as Go calls it (GOARCH), which images use.
_MACHINES = {
    "x86_64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "mips64": "mips64le",
    "loongarch64": "loong64",
}
_VARIANTS = {"armv7l": "v7", "armv6l": "v6"}


@dataclass(frozen=True)
class Platform:
    """What an image runs on; ``linux/arm/v7`` in words."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, other: Platform) -> bool:
        """Return whether an image for ``other`` is one for this platform."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and (not self.variant or not other.variant or self.variant == other.variant)


def this_platform() -> Platform:
    """Return the platform of this machine."""
    machine = platform.machine()
    return Platform("linux", _MACHINES.get(machine, machine), _VARIANTS.get(machine, ""))


def parse_platform(text: str) -> Platform:
    """Return the platform that ``OS/ARCH[/VARIANT]`` or ``ARCH`` names; ``InvalidArgument``."""
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(re.fullmatch(r"[a-z0-9_.-]+", part) for part in parts):
        raise InvalidArgument(f"platform {shown(text)} is not of the form os/arch[/variant], such as linux/arm64")
    if len(parts) == 1:
        parts = ["linux", *parts]
    architecture = _MACHINES.get(parts[1], parts[1])
    variant = parts[2] if len(parts) == 3 else ""
    # containerd's rule: v8 is what arm64 has anyway.
    return Platform(parts[0], architecture, "" if (architecture, variant) == ("arm64", "v8") else variant)


@dataclass(frozen=True)
class ImageConfig:
    """What an image wants to be run as, from its configuration."""

    digest: str
    platform: Platform
    layers: tuple[str, ...]
    """The digests of the layers as plain tars (``diff_ids``), the lowest first."""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    created: str = ""
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def chain_id(self) -> str:
        """The name of the snapshot that holds all layers, by OCI's rule."""
        chain = self.layers[0]
        for layer in self.layers[1:]:
            chain = "sha256:" + hashlib.sha256(f"{chain} {layer}".encode()).hexdigest()
        return chain


def read_config(digest: str, wanted: Platform, get: Callable[[str], bytes], name: str) -> ImageConfig:
    """Return the configuration of an image for a platform; ``digest`` is of a manifest or an index.

    ``get`` returns a blob. Raises ``NotFound`` where the image has nothing for this platform, with what it has, and
    ``InvalidArgument`` for what is no image.
    """
    manifest = _find_manifest(digest, wanted, get, name)
    config_digest = _digest(_object(manifest, "config", name), name)
    config = parse_config(parse_object(get(config_digest), f"configuration of {name}"), config_digest, name)
    if not wanted.runs(config.platform):
        raise _no_platform(name, wanted, [str(config.platform)])
    return config


def _find_manifest(digest: str, wanted: Platform, get: Callable[[str], bytes], name: str) -> dict[str, Any]:
    for _ in range(_DEEPEST_INDEX):
        value = parse_object(get(digest), f"manifest of {name}")
        if value.get("mediaType") not in _INDEXES and "manifests" not in value:
            return value
        entries = [entry for entry in _list(value, "manifests", name) if isinstance(entry, dict)]
        platforms = [(_platform(entry.get("platform")), entry) for entry in entries]
        chosen = next((entry for each, entry in platforms if each and wanted.runs(each)), None)
        if chosen is None and len(entries) == 1 and not platforms[0][0]:
            chosen = entries[0]  # an archive's index names no platform; the configuration tells
        if chosen is None:
            # Attestations of buildkit are for the platform "unknown/unknown".
            have = [str(each) for each, _ in platforms if each and each.os != "unknown"]
            raise _no_platform(name, wanted, have)
        digest = _digest(chosen, name)
    raise InvalidArgument(f"image {name}: its index is nested deeper than {_DEEPEST_INDEX} levels")


def _no_platform(name: str, wanted: Platform, have: Sequence[str]) -> NotFound:
    there = ", ".join(dict.fromkeys(have)) or "none"
    return NotFound(f"image {name} has nothing for {wanted}", hint=f"it has: {there}; choose one with --platform")


def parse_config(value: Mapping[str, Any], digest: str, name: str) -> ImageConfig:
    """Return an image's configuration from its JSON object; ``InvalidArgument`` for wrong types."""
    config = _object(value, "config", name) if value.get("config") else {}
    layers = _strings(_object(value, "rootfs", name), "diff_ids", name)
    if not layers or not all(_DIGEST.fullmatch(layer) for layer in layers):
        raise InvalidArgument(f"image {name}: its configuration names no layers: it is not an image to be run")
    labels = config.get("Labels") or {}
    return ImageConfig(
        digest=digest,
        platform=_platform(value) or Platform("linux", this_platform().architecture),
        layers=layers,
        env=_strings(config, "Env", name),
        entrypoint=_strings(config, "Entrypoint", name),
        cmd=_strings(config, "Cmd", name),
        user=_string(config, "User", name),
        working_dir=_string(config, "WorkingDir", name),
        stop_signal=_string(config, "StopSignal", name),
        volumes=tuple(_object(config, "Volumes", name)) if config.get("Volumes") else (),
        labels={str(key): str(text) for key, text in labels.items()} if isinstance(labels, dict) else {},
        created=_string(value, "created", name),
        history=tuple(entry for entry in value.get("history") or () if isinstance(entry, dict)),
    )


def _platform(value: object) -> Platform | None:
    if not isinstance(value, Mapping):
        return None
    os, architecture, variant = (value.get(key) or "" for key in ("os", "architecture", "variant"))
    if not all(isinstance(part, str) for part in (os, architecture, variant)) or not os or not architecture:
        return None
    return Platform(os, architecture, "" if (architecture, variant) == ("arm64", "v8") else variant)


def _digest(descriptor: Mapping[str, Any], name: str) -> str:
    digest = descriptor.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidArgument(f"image {name}: {shown(digest)} is not a digest")
    return digest


def _object(value: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict):
        raise InvalidArgument(f"image {name}: {key!r} is not an object: it is not an image to be run")
    return found


def _list(value: Mapping[str, Any], key: str, name: str) -> list[Any]:
    found = value.get(key)
    if not isinstance(found, list):
        raise InvalidArgument(f"image {name}: {key!r} is not a list")
    return found


def _strings(value: Mapping[str, Any], key: str, name: str) -> tuple[str, ...]:
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidArgument(f"image {name}: {key!r} is not a list of strings")
    return tuple(found)


def _string(value: Mapping[str, Any], key: str, name: str) -> str:
    found = value.get(key) or ""
    if not isinstance(found, str):
        raise InvalidArgument(f"image {name}: {key!r} is not a string")
    return found
