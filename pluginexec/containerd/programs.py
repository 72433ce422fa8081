"""The programs that plugins need: where each is, and which version it reports."""

from __future__ import annotations

import contextlib
import re
import shutil
from dataclasses import dataclass

from pluginexec.containerd.ctr import Subprocesses
from pluginexec.errors import InvalidArgument, PluginExecError
from pluginexec.oci.json_reader import parse_object

_VERSION = re.compile(r"(?<![\w./])v?[0-9]+\.[0-9]+[!-~]*")
_VERSION_TIMEOUT = 5.0
# All others print it for "--version".
_VERSION_FLAGS = {"containerd-shim-runc-v2": "-v"}


@dataclass(frozen=True)
class Program:
    """A program on the ``PATH``; ``path`` is ``None`` if there is none, ``version`` is empty if it reports none."""

    name: str
    path: str | None
    version: str


def find_program(name: str) -> Program:
    """Return a program, with the version that it reports."""
    path = shutil.which(name)
    return Program(name, path, _version(path, _VERSION_FLAGS.get(name, "--version")) if path else "")


def runtime_has_seccomp(runtime: str) -> bool:
    """Return whether an OCI runtime, a name or a path, can filter system calls; ``False`` if it does not run."""
    with contextlib.suppress(PluginExecError):
        completed = Subprocesses().run([runtime, "features"], _VERSION_TIMEOUT)
        if completed.returncode == 0:  # runc 1.1, crun 1.8.6
            with contextlib.suppress(InvalidArgument):
                linux = parse_object(completed.stdout.encode(), "features").get("linux")
                seccomp = linux.get("seccomp") if isinstance(linux, dict) else None
                return isinstance(seccomp, dict) and seccomp.get("enabled") is True
        completed = Subprocesses().run([runtime, "--version"], _VERSION_TIMEOUT)
        # runc, and crun.
        return "libseccomp" in completed.stdout or "+SECCOMP" in completed.stdout
    return False


def _version(path: str, flag: str) -> str:
    try:
        completed = Subprocesses().run([path, flag], _VERSION_TIMEOUT)
    except PluginExecError:
        return ""
    version = _VERSION.search(completed.stdout)
    return version[0] if version and completed.returncode == 0 else ""
