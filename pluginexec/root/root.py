"""The directory of an executor, locked for it."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial

from pluginexec.errors import FailedPrecondition
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import WRONG_FOR_GOOD, file_error
from pluginexec.linux.locks import release_lock, take_lock_in
from pluginexec.root.layout import ROOT, Layout, absolute
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.validation import check_id

EXITS_KEPT = 256
"""How many exit records of ended plugins a root keeps; the oldest go first."""
_LOCK_TIMEOUT = 1.0
"""Seconds that what an executor was starting when it was killed may take until it runs: so long it holds the lock."""
_TAKEN_HINT = "close the other executor first, or give this one another root directory"


class Root:
    """The directory of an executor, locked for this process until ``close``; ``shared`` with others that share it."""

    def __init__(self, directory: str | os.PathLike[str], *, shared: bool = False) -> None:
        self.path = absolute(directory)
        self._shared = shared
        layout = Layout(self.path, self.path)
        self.runtime_root = layout.runtime_root
        self.unfinished = layout.unfinished
        self._containers = layout.containers
        self._records = layout.recorded_plugins
        self._newest_exit = 0
        try:
            # Again and again: a command may remove a state directory that it has found unused.
            make = partial(make_directory, self.path, ROOT)
            self._lock = take_lock_in(make, layout.lock, _LOCK_TIMEOUT, shared=shared)
        except OSError as error:
            raise file_error(error, f"{ROOT} {str(self.path)!r} cannot be used", WRONG_FOR_GOOD) from error
        if self._lock is None:
            raise FailedPrecondition(f"root directory {str(self.path)!r} is in use", hint=_TAKEN_HINT)
        try:
            make_directory(self._containers, ROOT)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another executor have the root."""
        if self._lock is not None:
            release_lock(self._lock)
            self._lock = None

    def plugin(self, id: str) -> PluginFiles:
        """Return the files of one plugin; nothing is made yet. ``InvalidArgument`` for a bad id."""
        record = self._records / check_id(id) if self._records else None
        return PluginFiles(self._containers / check_id(id), self._exit_time, record)

    def old_exits(self) -> list[PluginFiles]:
        """Return the plugins whose exit record is older than the newest ``EXITS_KEPT``; none of a shared root."""
        if self._shared:  # an id may be somebody else's at this moment
            return []
        records = []
        with contextlib.suppress(OSError):  # it cannot be listed now
            for path in self._containers.glob("*/exit.json"):
                with contextlib.suppress(OSError):  # gone meanwhile
                    records.append((path.stat().st_mtime_ns, path))
        records.sort()
        if records:
            self._newest_exit = max(self._newest_exit, records[-1][0])
        return [PluginFiles(path.parent) for _, path in records[:-EXITS_KEPT]]

    def _exit_time(self) -> int:
        """Return a time for a new exit record: later than that of any other, though the clock was set back."""
        self._newest_exit = max(time.time_ns(), self._newest_exit + 1)
        return self._newest_exit
