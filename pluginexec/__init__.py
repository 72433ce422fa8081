"""Run and supervise plugin containers on containerd, by way of ``ctr`` and ``runc``."""

from __future__ import annotations

import importlib
import typing

__version__ = "0.1.0"

__all__ = [
    "PLUGIN_NAMESPACE",
    "AlreadyExists",
    "Containerd",
    "DeadlineExceeded",
    "EventInfo",
    "EventType",
    "Executor",
    "ExitHandler",
    "ExitStatus",
    "FailedPrecondition",
    "Images",
    "InvalidArgument",
    "JsonFile",
    "ManagedPlugin",
    "NotFound",
    "PermissionDenied",
    "PluginExecError",
    "Remote",
    "Sink",
    "Unavailable",
    "Unknown",
    "Writer",
    "default_spec",
    "load_spec",
]

if typing.TYPE_CHECKING:
    from pluginexec.containerd.remote import Remote
    from pluginexec.daemon.containerd import Containerd
    from pluginexec.errors import (
        AlreadyExists,
        DeadlineExceeded,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        PluginExecError,
        Unavailable,
        Unknown,
    )
    from pluginexec.executor.executor import Executor
    from pluginexec.executor.exits import ExitHandler
    from pluginexec.images.store import Images
    from pluginexec.managed.plugin import ManagedPlugin
    from pluginexec.oci.default_spec import default_spec
    from pluginexec.oci.spec import load_spec
    from pluginexec.streams.json_file import JsonFile
    from pluginexec.streams.sinks import Sink
    from pluginexec.types import PLUGIN_NAMESPACE, EventInfo, EventType, ExitStatus, Writer
else:
    # Type checkers must not see this: with a __getattr__, each name that is misspelled exists for them.
    _HOMES = {
        "Containerd": "daemon.containerd",
        "ExitHandler": "executor.exits",
        "Executor": "executor.executor",
        "Images": "images.store",
        "JsonFile": "streams.json_file",
        "ManagedPlugin": "managed.plugin",
        "Remote": "containerd.remote",
        "Sink": "streams.sinks",
        "default_spec": "oci.default_spec",
        "load_spec": "oci.spec",
        **dict.fromkeys(("PLUGIN_NAMESPACE", "EventInfo", "EventType", "ExitStatus", "Writer"), "types"),
    }

    def __getattr__(name):
        """Import a public name when it is asked for: the command line wants its own parts, and no more."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value

    def __dir__():
        """Return the public names too, also those that are not imported yet."""
        return sorted({*globals(), *__all__})
