"""Which images the plugins of a root use."""

from __future__ import annotations

import contextlib

from pluginexec.errors import FailedPrecondition, PluginExecError
from pluginexec.host.records import Records, is_alive
from pluginexec.images.store import Images, digests_of
from pluginexec.root.layout import Layout


def digests_in_use(layout: Layout) -> list[str]:
    """Return the digests of the images that plugins of a root were made from, running or not."""
    return list(_users(layout))


def _users(layout: Layout) -> dict[str, list[tuple[str, bool]]]:
    """Return the plugins of each digest, and whether each runs."""
    users: dict[str, list[tuple[str, bool]]] = {}
    records = Records(layout)
    ids = records.ids()
    for id in ids:
        with contextlib.suppress(PluginExecError):  # removed meanwhile, or broken
            digest = records.record(id).image_digest
            if digest:
                users.setdefault(digest, []).append((id, is_alive(records.state(id))))
    for id, digest in digests_of(layout.containers).items():
        if id not in ids:  # those of an executor of a program have no record
            users.setdefault(digest, []).append((id, True))
    return users


def remove_image(images: Images, layout: Layout, name: str, *, force: bool) -> str:
    """Remove a name of an image, and return that; refuse its last one while plugins use it, as docker does.

    ``force`` removes it though stopped plugins use it. Raises ``FailedPrecondition`` and ``NotFound``.
    """
    image = images.find(name)
    users = _users(layout).get(image.digest, [])
    others = [each for each in images.list() if each.digest == image.digest and each.name != image.name]
    blocking = users if not force else [user for user in users if user[1]]
    if blocking and not others:
        ids = ", ".join(id for id, _ in blocking[:5])
        runs = any(alive for _, alive in blocking)
        hint = "stop and remove it first" if runs else "remove it first, or use --force"
        raise FailedPrecondition(f"image {name} is used by {ids}", hint=hint)
    images.untag(image.name)
    return image.name
