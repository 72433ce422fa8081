"""The lock of one plugin of a root, in its directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pluginexec.errors import DeadlineExceeded, NotFound
from pluginexec.linux.files import file_error
from pluginexec.linux.locks import await_lock, release_lock


@contextlib.contextmanager
def held_lock(path: Path, timeout: float, id: str, missing: NotFound) -> Iterator[None]:
    """Hold the lock in a plugin's directory, and raise ``missing`` if that is gone.

    Raises ``DeadlineExceeded`` if somebody else still holds it after ``timeout`` seconds.
    """
    try:
        # Not made here: it would keep the directory of a plugin that is being removed.
        descriptor = await_lock(path, timeout, make=False)
    except FileNotFoundError as error:
        raise missing from error
    except OSError as error:
        raise file_error(error, f"lock {str(path)!r} cannot be taken") from error
    if descriptor is None:
        raise DeadlineExceeded("another process is at work on it", id=id, hint=f"see who: fuser {path}")
    try:
        yield
    finally:
        release_lock(descriptor)
