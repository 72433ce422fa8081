"""The pytest plugin: fixtures that run plugin containers, and fail a test that leaves one behind.

pytest loads ``pluginexec.testing.plugin`` by its entry point in every run, so nothing here is imported before a test
uses it. The classes are public for annotations, as in ``def test_it(plugin: PluginFactory) -> None``.
"""

from __future__ import annotations

import importlib
import typing

__all__ = ["Daemon", "DockerPluginFactory", "ExecResult", "PluginFactory", "PluginHandle"]

if typing.TYPE_CHECKING:
    from pluginexec.testing.daemons import Daemon
    from pluginexec.testing.docker_plugins import DockerPluginFactory
    from pluginexec.testing.factory import PluginFactory
    from pluginexec.testing.handle import ExecResult, PluginHandle
else:
    # Type checkers must not see this: with a __getattr__, they accept any misspelled name.
    _HOMES = {
        "Daemon": "daemons",
        "DockerPluginFactory": "docker_plugins",
        "ExecResult": "handle",
        "PluginFactory": "factory",
        "PluginHandle": "handle",
    }

    def __getattr__(name):
        """Import a public name when it is used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
