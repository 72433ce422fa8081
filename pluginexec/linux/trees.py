"""Trees that a plugin may have written: removed and listed whatever is in them.

A tree is removed by descriptor: no link leads elsewhere, also not one that replaces a directory meanwhile, and no path
gets too long. It may be deeper than there are descriptors or frames of a stack: a directory below the first ``_DEPTH``
levels is moved to the top and removed there. So the time is linear, whatever the shape.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pluginexec.errors import shown

log = logging.getLogger(__name__)

_DEPTH = 16
"""Levels that are open at once, with two descriptors each."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_Names = Iterator[tuple[str, bool]]
"""Names, and whether each is that of a directory."""


def remove(path: str | os.PathLike[str]) -> bool:
    """Remove a tree, or a file, if it exists; return whether nothing is left of it.

    What cannot be removed stays, and is logged once: a mount point with all that is below it, an immutable file.
    """
    path = os.path.abspath(path)
    removal = _Removal()
    try:
        removal.remove(*os.path.split(path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        removal.note(error, "")
    if removal.problem:
        _report(path, removal.problem)
    return not removal.problem


def files_below(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield what is below a directory and is not a directory, sorted in each; links are not followed.

    Left out is what cannot be listed, such as what lies deeper than a path can name.
    """
    pending = [Path(directory)]
    while pending:
        parent = pending.pop()
        with contextlib.suppress(OSError):
            with os.scandir(parent) as iterator:
                entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in iterator)
            yield from (parent / name for name, is_directory in entries if not is_directory)
            pending += [parent / name for name, is_directory in reversed(entries) if is_directory]


@functools.lru_cache(maxsize=1024)  # for its effect: each command tries again, and each would log it
def _report(path: str, problem: str) -> None:
    log.warning("cannot remove all of %s: %s", path, problem)


class _Level:
    """A directory that is being emptied."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor = descriptor
        self.name = name
        self._scan = os.scandir(descriptor)
        self.names: _Names = ((entry.name, entry.is_dir(follow_symlinks=False)) for entry in self._scan)

    def close(self) -> None:
        self._scan.close()
        os.close(self.descriptor)


class _Removal:
    """The removal of one tree."""

    def __init__(self) -> None:
        self.problem = ""
        """The first thing that could not be removed, and why."""
        # What a plugin has made before cannot have such a name.
        self._prefix = f".{os.urandom(8).hex()}-"
        self._moved = 0

    def remove(self, parent: str, name: str) -> None:
        above = os.open(parent, _DIRECTORY)
        try:
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
            if not self._remove_simple(above, name, stat.S_ISDIR(status.st_mode)):
                self._empty(self._open(above, name), status.st_dev)
                self._remove_emptied(above, name)
        finally:
            os.close(above)

    def note(self, error: OSError, name: str) -> None:
        if not self.problem:
            self.problem = ": ".join(
                part for part in (shown(name) if name else "", error.strerror or str(error)) if part
            )

    def _empty(self, top: int, device: int) -> None:
        """Remove all that is in a directory, and close it."""
        levels = [self._level(top, "")]
        levels[0].names = self._with_moved(levels[0].names)
        try:
            while levels:
                level = levels[-1]
                name, is_directory = next(level.names, ("", False))
                if not name:
                    levels.pop().close()
                    if levels:
                        self._remove_emptied(levels[-1].descriptor, level.name)
                elif not self._remove_simple(level.descriptor, name, is_directory):
                    if len(levels) == _DEPTH:
                        self._move_up(level.descriptor, name, top)
                    else:
                        self._enter(levels, name, device)
        finally:
            for level in levels:
                level.close()

    def _with_moved(self, names: _Names) -> _Names:
        """Yield the names in the top, then those of the directories that were moved there meanwhile."""
        yield from names
        number = 0
        while number < self._moved:
            yield f"{self._prefix}{number}", True
            number += 1

    def _remove_simple(self, directory: int, name: str, is_directory: bool) -> bool:
        """Remove a file or an empty directory; return ``False`` for a directory that is not empty.

        For a mount point the kernel says EBUSY before it looks whether that is empty: such a one is never entered.
        """
        try:
            (os.rmdir if is_directory else os.unlink)(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if is_directory and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            self.note(error, name)
        return True

    def _remove_emptied(self, directory: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:  # something in it had to stay, which then is noted
            self.note(error, name)

    def _enter(self, levels: list[_Level], name: str, device: int) -> None:
        try:
            descriptor = self._open(levels[-1].descriptor, name)
            if os.fstat(descriptor).st_dev != device:  # mounted since it was found not to be empty
                os.close(descriptor)
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            levels.append(self._level(descriptor, name))
        except FileNotFoundError:
            pass
        except OSError as error:
            self.note(error, name)

    def _move_up(self, directory: int, name: str, top: int) -> None:
        try:
            os.rename(name, f"{self._prefix}{self._moved}", src_dir_fd=directory, dst_dir_fd=top)
            self._moved += 1
        except FileNotFoundError:
            pass
        except OSError as error:
            self.note(error, name)

    def _open(self, directory: int, name: str) -> int:
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)

    def _level(self, descriptor: int, name: str) -> _Level:
        try:
            return _Level(descriptor, name)
        except BaseException:
            os.close(descriptor)
            raise
