"""The way to a file below a directory: by descriptor, name by name, so that the kernel follows no link."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence

from pluginexec.errors import InvalidArgument, shown
from pluginexec.managed.archive.bounds import LONGEST_PATH, OPENED, Bounds

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 64
"""Levels whose descriptors stay open; the last one does in any case."""
_MOST_LINKS = 40
"""In one path, as the kernel has it."""
_MADE = 0o755
_NOT_A_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)


class Walker:
    """Finds files below a directory, whose descriptor it closes in the end.

    The path to the last one stays open as far as it can, so that the next one beside or below it takes one step.
    Without ``base``, a link leads where it would for a process whose root directory this is. With it, the real path of
    the directory, a link that leads out of it is refused.
    """

    def __init__(self, top: int, bounds: Bounds, base: str | None = None) -> None:
        self._bounds = bounds
        self._base = base
        self._names: list[str] = []
        self._descriptors: list[int | None] = [top]

    def close(self) -> None:
        """Close all descriptors."""
        self.cut(0)
        if self._descriptors[0] is not None:
            os.close(self._descriptors[0])
        self._descriptors = []

    def find(
        self, parts: Sequence[str], name: str, *, make: bool = False, follow: bool = False
    ) -> tuple[list[str], str]:
        """Return the path of a file's directory, without links, and its name there; it need not exist.

        With ``make``, directories that are missing are made. With ``follow``, the file itself is not a link either.
        Raises ``InvalidArgument`` for what is below a file or behind a loop; ``name`` is for messages.
        """
        done, links = self._known(parts[:-1]), 0
        todo = [*reversed(parts[len(done) :])]
        while todo:
            part = todo.pop()
            self._bounds.step(name)
            if part == "..":
                self._leave(done, name)
            elif not todo and not follow:
                return done, part
            elif (link := self._enter_or_read(len(done), part, name, make, is_last=not todo)) is None:
                done.append(part)
                if len(done) > LONGEST_PATH // 2:
                    raise InvalidArgument(f"entry {shown(name)} lies too deep")
            else:
                links += 1
                if links > _MOST_LINKS:
                    raise InvalidArgument(f"entry {shown(name)} is behind a loop of symbolic links")
                done, way = self._followed(done, link, name)
                todo += way
        if not done:
            raise self._leads_out(name)
        return done, done.pop()

    def descriptor(self, depth: int) -> int:
        """Return the descriptor of the directory at this depth of the current path; it stays the walker's."""
        start = depth
        while (current := self._descriptors[start]) is None:
            start -= 1
        for index in range(start, depth):
            try:
                self._bounds.step(self._names[index], OPENED)
                inner = os.open(self._names[index], _DIRECTORY, dir_fd=current)
            finally:
                if start < index:
                    os.close(current)
            current = inner
        self._descriptors[depth] = current
        return current

    def enter(self, depth: int, name: str) -> None:
        """Make a directory, which is in that at ``depth``, the next of the current path; ``OSError`` for a link."""
        if len(self._names) > depth and self._names[depth] == name:
            return
        self.cut(depth)
        self._bounds.step(name, OPENED)
        inner = os.open(name, _DIRECTORY, dir_fd=self.descriptor(depth))
        self._names.append(name)
        self._descriptors.append(inner)
        outer = self._descriptors[depth]
        if depth > _KEPT and outer is not None:
            os.close(outer)
            self._descriptors[depth] = None

    def go(self, path: Sequence[str]) -> int:
        """Enter the directories of a path without links; return the descriptor of the last."""
        for depth in range(len(self._known(path)), len(path)):
            self.enter(depth, path[depth])
        return self.descriptor(len(path))

    def cut(self, depth: int) -> None:
        """Shorten the current path: what is below may have changed."""
        while len(self._names) > depth:
            self._names.pop()
            descriptor = self._descriptors.pop()
            if descriptor is not None:
                os.close(descriptor)

    def _known(self, parts: Sequence[str]) -> list[str]:
        """Return what of a path needs no walk: all of the current one, or nothing."""
        names = self._names[: len(parts)]
        return names if names == list(parts[: len(names)]) else []

    def _make(self, depth: int, name: str, entry: str) -> None:
        """Make a directory that no entry has described yet, and enter it."""
        self._bounds.add_file(entry)
        os.mkdir(name, 0o700, dir_fd=self.descriptor(depth))
        self.enter(depth, name)
        os.fchmod(self.descriptor(depth + 1), _MADE)  # whatever the umask

    def _enter_or_read(self, depth: int, part: str, name: str, make: bool, *, is_last: bool) -> str | None:
        """Enter a directory, or return where a link leads to; the last part of a path may be any file, or missing."""
        try:
            self.enter(depth, part)
            return None
        except FileNotFoundError:
            if make:
                self._make(depth, part, name)
                return None
            if is_last:
                return None
            raise
        except OSError as error:
            if error.errno not in _NOT_A_DIRECTORY:
                raise
        with contextlib.suppress(OSError):
            return os.readlink(part, dir_fd=self.descriptor(depth))
        if is_last:
            return None
        raise InvalidArgument(f"entry {shown(name)} is below a file")

    def _leave(self, done: list[str], name: str) -> None:
        if not done and self._base is not None:
            raise self._leads_out(name)
        del done[-1:]

    def _followed(self, done: list[str], link: str, name: str) -> tuple[list[str], list[str]]:
        """Return the path that a link starts from, and the names on its way, the first one last."""
        if link.startswith("/"):
            done = []
            if self._base is not None:
                if not f"{os.path.normpath(link)}/".startswith(f"{self._base}/"):
                    raise self._leads_out(name)
                link = os.path.normpath(link)[len(self._base) :]
        return done, [part for part in reversed(link.split("/")) if part not in ("", ".")]

    def _leads_out(self, name: str) -> InvalidArgument:
        return InvalidArgument(
            f"{shown(name)} is a link that leads out of the bundle", hint="put what it leads to into the bundle"
        )
