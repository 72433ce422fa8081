"""What could not be deleted yet, remembered on disk: ids can be random, and then no later create clears them away.

::

    unfinished/ID    JSON; the lock on it is held by the one that works on it, or creates the id anew

It is written only where a deletion fails, as by a containerd that was killed, so creates and exits do not pay for it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pluginexec.errors import PluginExecError
from pluginexec.linux.directories import make_directory, names_in
from pluginexec.linux.locks import await_lock, release_lock
from pluginexec.validation import check_namespace

log = logging.getLogger(__name__)

_NEW = "."
"""Before the name of a file that is being written: no id begins like this."""


@dataclass(frozen=True)
class Leftover:
    """What is left of one id."""

    id: str
    marks: frozenset[str]
    """Of the failed starts that may have made something."""
    has_exited: bool
    """Whether it is, too, a plugin that exited: nothing of it is ended that runs."""
    cgroup: str = ""
    """Its ``linux.cgroupsPath``: containerd 1.7 and later end its shim themselves as they start, but not the cgroups
    that a runtime has made which was killed before it wrote its state."""


class Hold(Enum):
    """Whether what is left of an id is this process's to delete."""

    OURS = "ours"
    """Also where it could not be written down."""
    OTHERS = "others"
    """Another process works on it, or creates the id, at this moment."""
    DONE = "done"
    """Another process has deleted it, or has created the id anew."""


class Unfinished:
    """The files in a directory, which need not exist; what this process works on is in one namespace of one containerd.

    What cannot be written is only not remembered for the next process.
    """

    def __init__(self, directory: Path, address: str, namespace: str) -> None:
        self._directory = directory
        self._whose = {"address": address, "namespace": namespace}
        self._known: set[str] = set()

    def load(self) -> list[Leftover]:
        """Return what is remembered; costs one system call where that is nothing. Raises as ``names_in``."""
        return [leftover for id in ids_in(self._directory) if (leftover := self._read(id))]

    def store(self, leftover: Leftover) -> None:
        """Remember what is left of an id, in place of what was remembered of it."""
        content = self._whose | asdict(leftover) | {"marks": sorted(leftover.marks)}
        new = self._directory / f"{_NEW}{leftover.id}"
        try:
            make_directory(self._directory)
            new.write_text(json.dumps(content), encoding="utf-8")
            new.replace(self._directory / leftover.id)
            self._known.add(leftover.id)
        except (OSError, PluginExecError) as error:
            log.debug("%s: what is left of it cannot be remembered: %s", leftover.id, error)

    def remove(self, id: str) -> None:
        """Forget an id."""
        self._known.discard(id)
        with contextlib.suppress(OSError):
            (self._directory / id).unlink()

    @contextlib.contextmanager
    def held(self, id: str, timeout: float = 0.0) -> Iterator[Hold]:
        """Keep other processes from deleting what is left of an id; wait ``timeout`` seconds for those that do."""
        try:
            lock = await_lock(self._directory / id, timeout, make=False)
        except OSError:
            # The directory goes with the whole root, which deletes nothing of what is meant here.
            yield Hold.DONE if id in self._known and self._directory.exists() else Hold.OURS
            return
        if lock is None:
            yield Hold.OTHERS
            return
        try:
            # One that was removed, or replaced, while it was waited for says nothing.
            yield Hold.OURS if os.fstat(lock).st_nlink else Hold.OTHERS
        finally:
            release_lock(lock)

    def _read(self, id: str) -> Leftover | None:
        try:
            content: Any = json.loads((self._directory / id).read_bytes())
            if {key: content[key] for key in self._whose} == self._whose:
                self._known.add(id)
                marks = frozenset(map(str, content["marks"]))
                return Leftover(id, marks, bool(content["has_exited"]), str(content["cgroup"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.debug("%s: what is left of it cannot be read: %s", id, error)
        return None


def ids_in(directory: Path) -> list[str]:
    """Return the ids of which something is remembered, whichever containerd they are on; raises as ``names_in``."""
    return [name for name in names_in(directory) if not name.startswith(_NEW)]


def namespaces_in(directory: Path, address: str) -> set[str]:
    """Return the namespaces of a containerd in which something is remembered; raises as ``names_in``."""
    namespaces = set()
    for id in ids_in(directory):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError, PluginExecError):
            content = json.loads((directory / id).read_bytes())
            if content["address"] == address:
                namespaces.add(check_namespace(content["namespace"]))
    return namespaces
