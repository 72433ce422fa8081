"""The programs that plugins need: where each is, and which version it reports."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from pluginexec.containerd.ctr import Subprocesses
from pluginexec.errors import PluginExecError

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


def _version(path: str, flag: str) -> str:
    try:
        completed = Subprocesses().run([path, flag], _VERSION_TIMEOUT)
    except PluginExecError:
        return ""
    version = _VERSION.search(completed.stdout)
    return version[0] if version and completed.returncode == 0 else ""
