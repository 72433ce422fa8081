"""Mount an overlay: read-only directories, seen through one that takes the changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from pluginexec.linux import libc

_CLONE_FS = 0x200
_LONGEST = os.sysconf("SC_PAGE_SIZE") - 1
"""mount(2) reads one page of options, and cuts what is longer off in silence."""


def mount_overlay(target: str, lower: Sequence[str], upper: str, work: str) -> None:
    """Mount the directories ``lower``, the topmost first, below ``upper`` on ``target``.

    ``work`` is an empty directory on the file system of ``upper``. Raises ``OSError``: ``EINVAL`` if the kernel has no
    overlay, or ``upper`` is on a file system that cannot hold one, such as another overlay; ``E2BIG`` for too many
    layers.
    """
    parent = os.path.commonpath(lower) if len(lower) > 1 else os.path.dirname(lower[0])
    options = ",".join(
        [
            "index=off",
            f"upperdir={_escaped(upper)}",
            f"workdir={_escaped(work)}",
            "lowerdir=" + ":".join(_escaped(os.path.relpath(path, parent), ":") for path in lower),
        ]
    ).encode(errors="surrogateescape")
    if len(options) > _LONGEST:
        raise OSError(7, f"{len(lower)} layers take {len(options)} bytes of options, of at most {_LONGEST}", target)
    failure: list[OSError] = []

    def mount() -> None:
        try:
            # The working directory of this thread alone: relative names of 127 layers fit in a page, whole ones do not.
            libc.call("unshare", _CLONE_FS, about="unshare")
            os.chdir(parent)
            libc.call("mount", b"overlay", os.fsencode(target), b"overlay", 0, options, about=target)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=mount, name="pluginexec-mount")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _escaped(path: str, more: str = "") -> str:
    r"""Return a path as overlayfs reads it: a comma ends an option, a colon a directory, unless behind a ``\``."""
    return "".join(f"\\{character}" if character in f"\\,{more}" else character for character in path)
