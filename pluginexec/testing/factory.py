"""The factory of a test's plugins."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pluginexec.errors import InvalidArgument
from pluginexec.executor.executor import Executor
from pluginexec.linux.cgroups import default_cgroups_path
from pluginexec.oci.default_spec import default_spec
from pluginexec.oci.options.environment import changed_environment
from pluginexec.oci.spec import SpecSource, load_spec
from pluginexec.testing.handle import PluginHandle, Runtime
from pluginexec.testing.output import Output

_numbers = itertools.count(1)


class PluginFactory:
    """Runs plugins for one test; the fixture ``plugin``. All end with the test."""

    def __init__(
        self, executor: Executor, namespace: str, runtime: Runtime, timeout: float, busybox: Callable[[], Path]
    ) -> None:
        self._executor = executor
        self._namespace = namespace
        self._runtime = runtime
        self._timeout = timeout
        self._busybox = busybox
        self.handles: list[PluginHandle] = []
        """Those of all plugins that were run, in order."""

    def __call__(
        self,
        command: Sequence[str] | None = None,
        *,
        rootfs: str | os.PathLike[str] | None = None,
        bundle: SpecSource | None = None,
        id: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> PluginHandle:
        """Run a plugin, and return its handle once it is running.

        It is made from a root file system (``busybox_rootfs`` by default) and a ``command``, as ``default_spec`` does;
        or from a ``bundle``: a bundle directory, a ``config.json`` or an OCI spec as a dict. A ``command`` replaces
        that of the bundle. ``env`` is added to the environment, ``cwd`` replaces the working directory. Without an
        ``id`` a unique one is chosen; the cgroup is always the plugin's own. Raises as ``Executor.create`` does.
        """
        id = f"p{os.getpid()}-{next(_numbers)}" if id is None else id
        spec = self._spec(id, command, rootfs, bundle)
        if env:
            changes = [f"{key}={value}" for key, value in env.items()]
            spec["process"]["env"] = changed_environment(spec["process"].get("env") or [], changes, (), {})
        if cwd is not None:
            spec["process"]["cwd"] = cwd
        # Unlike ids, cgroups belong to the machine: two workers that run one bundle would end each other's plugins.
        spec.setdefault("linux", {})["cgroupsPath"] = default_cgroups_path(f"{self._namespace}-{id}")
        output = Output()
        self._executor.create(id, spec, output.stdout, output.stderr)
        handle = PluginHandle(self._executor, id, spec, output, self._runtime, self._timeout)
        self.handles.append(handle)
        return handle

    def _spec(
        self,
        id: str,
        command: Sequence[str] | None,
        rootfs: str | os.PathLike[str] | None,
        bundle: SpecSource | None,
    ) -> dict[str, Any]:
        if bundle is not None:
            if rootfs is not None:
                raise InvalidArgument("a bundle has its own root file system: give a bundle or a rootfs, not both")
            spec = load_spec(bundle)
            if command is not None:
                spec["process"]["args"] = list(command)
            return spec
        if command is None:
            raise InvalidArgument("there is no command to run: give a command or a bundle")
        return default_spec(self._busybox() if rootfs is None else rootfs, command, id=id)
