"""Another containerd put first on the ``PATH``, with this machine's own runc."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.debian import unpacked

VERSION_VARIABLE = "PLUGINEXEC_TESTS_CONTAINERD"
"""Tells the tests which version they are meant to run on."""
COMMANDS = ("containerd", "ctr", "containerd-shim-runc-v2")
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Selected:
    """A containerd, and the environment in which it is the one that is found."""

    version: str
    directory: Path
    environment: dict[str, str]

    @property
    def name(self) -> str:
        """What to call it."""
        return f"containerd {self.version}"


def select(suite: str) -> Selected:
    """Fetch the containerd of a suite of Debian; raise ``RuntimeError`` of one line if it cannot be used here."""
    return selected_from(unpacked("containerd", suite) / "usr" / "bin")


def selected_from(directory: Path) -> Selected:
    """Put the containerd in a directory first on the ``PATH``; raise ``RuntimeError`` if it would not be what runs."""
    environment = {**os.environ, "PATH": f"{directory}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    for command in COMMANDS:
        found = shutil.which(command, path=environment["PATH"])
        if found != str(directory / command):
            raise RuntimeError(f"{command} is not in {directory}: {found or 'none'} would run")
    # Theirs wants a newer libc, and what differs shall be containerd alone.
    own = shutil.which("runc")
    found = shutil.which("runc", path=environment["PATH"])
    if own is None or found != own:
        raise RuntimeError(f"runc must be this machine's own, {own or 'which has none'}, but {found} would run")
    versions = {command: version_of(directory / command) for command in COMMANDS}
    if len(set(versions.values())) != 1:
        raise RuntimeError(f"{directory} mixes versions: {versions}")
    version = versions["containerd"]
    return Selected(version, directory, environment | {VERSION_VARIABLE: version})


def version_of(command: Path) -> str:
    """Ask a command of containerd for its version: that shows too that it runs here."""
    flag = "-v" if command.name.startswith("containerd-shim") else "--version"
    try:
        done = subprocess.run([command, flag], check=True, capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as error:
        said = " ".join((getattr(error, "stderr", None) or "").split())
        raise RuntimeError(f"{command} does not run here: {error} {said}".strip()) from error
    words = done.stdout.split()
    # "containerd URL VERSION REVISION", "ctr URL VERSION", and a shim's "NAME: Version: VERSION ...".
    if len(words) < 3:
        raise RuntimeError(f"{command} tells no version: {done.stdout[:100]!r}")
    return words[2]
