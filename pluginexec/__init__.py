"""Run and supervise plugin containers on containerd, by way of ``ctr`` and ``runc``."""

from __future__ import annotations

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
from pluginexec.remote import Remote
from pluginexec.spec import default_spec, load_spec
from pluginexec.types import PLUGIN_NAMESPACE, EventInfo, EventType, ExitStatus, Sink, Writer

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
