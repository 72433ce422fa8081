"""What a list shows of an image."""

from __future__ import annotations

from typing import Any

from pluginexec.containerd.image_client import StoredImage
from pluginexec.errors import InvalidArgument
from pluginexec.images.reference import Reference, parse_reference

FIELDS = ("repository", "tag", "digest", "short_digest", "size", "name", "platforms")
_SHORT = len("sha256:") + 12
_NONE = "<none>"


def row(image: StoredImage) -> dict[str, Any]:
    """Return an image as a row of a table; a name that docker would not have is shown as it is."""
    reference = _reference(image)
    return {
        "repository": reference.familiar_repository if reference else image.name,
        "tag": (reference.tag if reference else "") or _NONE,
        "digest": image.digest,
        "short_digest": image.digest[:_SHORT],
        "size": image.size,
        "name": image.name,
        "platforms": list(image.platforms),
    }


def matches(image: StoredImage, pattern: str) -> bool:
    """Return whether an image is of a repository, or has a name; raise ``InvalidArgument`` for a bad one."""
    wanted = parse_reference(pattern)
    reference = _reference(image)
    if reference is None or reference.repository != wanted.repository:
        return False
    has_tag = ":" in pattern.rpartition("/")[2] or "@" in pattern
    return not has_tag or image.name == wanted.name


def _reference(image: StoredImage) -> Reference | None:
    try:
        return parse_reference(image.name)
    except InvalidArgument:
        return None
