"""Mount an overlay: read-only directories, seen through one that takes the changes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pluginexec.linux import libc, mounts

_T = TypeVar("_T")
_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_LONGEST = os.sysconf("SC_PAGE_SIZE") - 1
"""mount(2) reads one page of options, and cuts what is longer off in silence."""


def mount_overlay(target: str, lower: Sequence[str], upper: str, work: str) -> None:
    """Mount the directories ``lower``, the topmost first, below ``upper`` on ``target``.

    ``work`` is an empty directory on the file system of ``upper``. Raises ``OSError``: ``EINVAL`` if the kernel has no
    overlay, or ``upper`` is on a file system that cannot hold one, such as another overlay; ``E2BIG`` for too many
    layers.
    """
    parent = os.path.commonpath([*lower, os.path.dirname(lower[0])])
    options = _options(lower, parent, upper, work)

    def mount() -> None:
        # The working directory of this thread alone: relative names of 127 layers fit in a page, whole ones do not.
        libc.call("unshare", _CLONE_FS, about="unshare")
        os.chdir(parent)
        libc.call("mount", b"overlay", os.fsencode(target), b"overlay", 0, options, about=target)

    _on_thread(mount)


def look_into(lower: Sequence[str], target: str, look: Callable[[str], _T]) -> _T:
    """Return what ``look`` returns for the overlay of directories, mounted on ``target`` for that moment.

    Only the thread that looks sees the mount, which ends with it, however that comes. Raises as ``mount_overlay``.
    """

    def mount_and_look() -> _T:
        libc.call("unshare", _CLONE_NEWNS | _CLONE_FS, about="unshare")
        mounts.mount("none", "/", mounts.MS_REC | mounts.MS_PRIVATE)
        libc.call("mount", b"none", os.fsencode(target), b"tmpfs", 0, None, about=target)
        for name in ("upper", "work", "root"):
            os.mkdir(f"{target}/{name}")
        parent = os.path.commonpath([*lower, os.path.dirname(lower[0])])
        os.chdir(parent)
        options = _options(lower, parent, f"{target}/upper", f"{target}/work")
        libc.call("mount", b"overlay", os.fsencode(f"{target}/root"), b"overlay", 0, options, about=target)
        return look(f"{target}/root")

    return _on_thread(mount_and_look)


def _on_thread(call: Callable[[], _T]) -> _T:
    results: list[_T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="pluginexec-mount")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _options(lower: Sequence[str], parent: str, upper: str, work: str) -> bytes:
    """Return the options of an overlay, with its lower directories as seen from ``parent``."""
    relative = ":".join(_escaped(os.path.relpath(path, parent), ":") for path in lower)
    text = f"index=off,upperdir={_escaped(upper)},workdir={_escaped(work)},lowerdir={relative}"
    options = text.encode(errors="surrogateescape")
    if len(options) > _LONGEST:
        message = f"{len(lower)} layers take {len(options)} bytes of options, of at most {_LONGEST}"
        raise OSError(errno.E2BIG, message, upper)
    return options


def _escaped(path: str, more: str = "") -> str:
    r"""Return a path as overlayfs reads it: a comma ends an option, a colon a directory, unless behind a ``\``."""
    return "".join(f"\\{character}" if character in f"\\,{more}" else character for character in path)
