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
    from pluginexec.daemon import Containerd
    from pluginexec.endings import ExitHandler
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
    from pluginexec.executor import Executor
    from pluginexec.jsonfile import JsonFile
    from pluginexec.managed.plugin import ManagedPlugin
    from pluginexec.remote import Remote
    from pluginexec.spec import default_spec, load_spec
    from pluginexec.types import PLUGIN_NAMESPACE, EventInfo, EventType, ExitStatus, Sink, Writer
else:
    # Type checkers must not see this: with a __getattr__, each name that is misspelled exists for them.
    _HOMES = {
        "Containerd": "daemon",
        "ExitHandler": "endings",
        "Executor": "executor",
        "JsonFile": "jsonfile",
        "ManagedPlugin": "managed.plugin",
        "Remote": "remote",
        **dict.fromkeys(("default_spec", "load_spec"), "spec"),
        **dict.fromkeys(("PLUGIN_NAMESPACE", "EventInfo", "EventType", "ExitStatus", "Sink", "Writer"), "types"),
    }

    def __getattr__(name):
        """Import a public name when it is asked for: the command line wants its own parts, and no more."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value

    def __dir__():
        """Return the public names too, also those that nobody has asked for yet."""
        return sorted({*globals(), *__all__})
