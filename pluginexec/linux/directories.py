"""Directories of the project's own: one function makes them, one checks that no other user can change them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from pluginexec.errors import InvalidArgument, PermissionDenied, shown
from pluginexec.linux.files import WRONG_FOR_GOOD, WRONG_PATH, file_error

_MOST_LINKS = 40
"""As many as the kernel follows in one path."""
_MOST_MISSING = 256
"""How many directories are made for one path; more are a mistake."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_directory(path: Path, what: str = "directory", *, in_use: bool = False) -> None:
    """Make a directory (0700) with its missing parents (0755), whatever the umask; check one that is there.

    Raises what ``check_directory`` does, and what ``file_error`` returns; ``what`` begins the message. ``in_use``: it
    lies in one that was written before, so a file system that is read-only now may be so for a while only.
    """
    check_directory(path, what)
    try:
        missing = []
        for each in (path, *path.parents):
            if _status(each):
                break
            missing.append(each)
        if len(missing) > _MOST_MISSING:
            raise InvalidArgument(f"{what} {shown(str(path))} lies too deep")
        for each in reversed(missing):
            _make(each, 0o700 if each == path else 0o755)
    except OSError as error:
        raise file_error(
            error, f"{what} {shown(str(path))} cannot be used", WRONG_PATH if in_use else WRONG_FOR_GOOD
        ) from error
    if missing:
        check_directory(path, what)  # another process may have made it


def check_directory(path: Path, what: str = "directory") -> None:
    """Raise unless ``path``, which is absolute, is missing, or is a directory that no other user can change.

    A directory must belong to this user, not be a link, and not be writable by others. What is above it must belong to
    this user or to root, and not be writable by others unless it is sticky. Links above it must be this user's or
    root's. Raises ``PermissionDenied`` or ``InvalidArgument``; ``what`` begins the message.
    """
    subject = f"{what} {shown(str(path))}"
    try:
        status = _status(path)
        if status:
            _check_itself(path, status, subject)
        _check_parents(path, subject)
    except PermissionError as error:
        raise _no_permission(path) from error
    except OSError as error:
        raise file_error(error, f"{subject} cannot be used") from error


def names_in(directory: Path) -> list[str]:
    """Return the names in a directory, sorted, none if it is not there.

    Unlike ``Path.glob``, which takes what may not be read for empty, raises ``PermissionDenied`` then, and else what
    ``file_error`` returns.
    """
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise _no_permission(directory) from error
    except OSError as error:
        raise file_error(error, f"directory {shown(str(directory))} cannot be listed") from error


def is_there(path: Path) -> bool:
    """Return whether something is at a path, links followed; unlike ``Path.exists``, raise what ``names_in`` does."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise _no_permission(path) from error
    except OSError as error:
        raise file_error(error, f"{shown(str(path))} cannot be used") from error
    return True


def _no_permission(path: Path) -> PermissionDenied:
    return PermissionDenied(f"permission denied: {path}" + ("" if os.geteuid() == 0 else " (run as root)"))


def _make(path: Path, mode: int) -> None:
    try:
        path.mkdir(mode)
    except FileExistsError:  # another process was faster
        return
    path.chmod(mode)  # the umask; no other user can have replaced it, because of what is above it


def _status(path: str | Path) -> os.stat_result | None:
    """Return what is at a path, or ``None``; unlike ``os.path.lexists``, tell "may not look" from "is not there"."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _check_itself(path: Path, status: os.stat_result, subject: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise InvalidArgument(f"{subject} is a link", hint=f"use {shown(os.path.realpath(path))}, where it leads to")
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if status.st_uid == 0 != os.geteuid():
        raise _no_permission(path)
    if status.st_uid != os.geteuid():
        hint = "use another directory" if os.geteuid() == 0 else "use your own"
        raise PermissionDenied(f"{subject} belongs to {_name(status.st_uid)}, not to {_name(os.geteuid())}", hint=hint)
    if status.st_mode & _OTHERS_WRITE:
        raise PermissionDenied(f"{subject} can be written by other users", hint=f"chmod go-w {path}")


def _check_parents(path: Path, subject: str) -> None:
    """Walk from the top to the last parent that is there, through links, as the kernel does."""
    current, links = "/", 0
    _check_parent(current, os.lstat(current), subject)
    names = [*reversed(path.parent.parts[1:])]
    while names:
        name = names.pop()
        if name == "..":  # of the target of a link
            current = os.path.dirname(current)
            continue
        each = os.path.join(current, name)
        status = _status(each)
        if status is None:
            return
        _check_parent(each, status, subject)
        if not stat.S_ISLNK(status.st_mode):
            current = each
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = Path(os.readlink(each))
        current = "/" if target.is_absolute() else current
        names += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _check_parent(path: str, status: os.stat_result, subject: str) -> None:
    is_link = stat.S_ISLNK(status.st_mode)
    if not is_link and not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if status.st_uid not in (0, os.geteuid()):
        kind = "link" if is_link else "directory"
        raise PermissionDenied(
            f"{subject} lies below the {kind} {shown(path)} of {_name(status.st_uid)}", hint="use another directory"
        )
    if not is_link and status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        raise PermissionDenied(
            f"{subject} lies below {shown(path)}, which other users can write to",
            hint=f"use another directory, or: chmod go-w {path}",
        )


def _name(uid: int) -> str:
    import pwd  # here, because only a refusal needs it

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
