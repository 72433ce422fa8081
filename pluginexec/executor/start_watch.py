"""Take hold of a plugin's process before its first instruction, while the ``ctr run`` that starts it is at work."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from pluginexec.errors import PluginExecError
from pluginexec.linux.cgroups import CgroupPath, cgroup_of, cgroups_path_of
from pluginexec.linux.pidfd import InitProcess, boot_seconds
from pluginexec.root.plugin_files import PluginFiles

log = logging.getLogger(__name__)


class StartWatch:
    """Looks for the pid that ``ctr`` writes before it starts the task, and holds the process from then on.

    So the kernel keeps the exit code of one that ends at once, even if containerd dies before it has reported that
    (Linux 6.15 and later). ``look`` is called again and again until it returns ``True``: inotify would cost 12 ms, the
    time that it takes to close its descriptor.
    """

    def __init__(self, files: PluginFiles, spec: Mapping[str, Any]) -> None:
        self._files = files
        self._spec = spec
        self._started_since = boot_seconds()
        self._init: InitProcess | None = None
        self.cgroup: CgroupPath = cgroups_path_of(spec)
        """Where the process is, or what the spec asks for."""

    def look(self) -> bool:
        """Hold the process if its pid is there; return whether there is nothing more to look for."""
        if not os.access(self._files.pid, os.F_OK):
            return False
        try:
            if pid := self._files.read_pid():
                self._hold(pid)
        except PluginExecError as error:  # out of descriptors; the create will raise that
            log.debug("%s: its process cannot be held while it starts: %s", self._files.id, error)
        return True

    def take(self, pid: int) -> InitProcess | None:
        """Return the process that the start has made, the caller's to close; ``None`` if it could not be held in time.

        Raises ``Unavailable`` as ``InitProcess.open``.
        """
        if self._init is None:
            self._hold(pid)
        init, self._init = self._init, None
        return init

    def close(self) -> None:
        """Let go of the process of a start that failed; the next start may be watched."""
        if self._init:
            self._init.close()
            self._init = None

    def _hold(self, pid: int) -> None:
        self._init = InitProcess.open(pid, started_since=self._started_since)
        if self._init:
            self.cgroup = cgroup_of_held(self._init, self._spec)


def cgroup_of_held(init: InitProcess, spec: Mapping[str, Any]) -> CgroupPath:
    """Return the cgroup of a process; what its spec asks for if it has ended, because the kernel lists only a part."""
    cgroup = cgroup_of(init.pid, spec)
    return cgroups_path_of(spec) if init.has_ended() else cgroup
