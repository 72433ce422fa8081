"""containerd's default seccomp profile, for plugins of the command line that bring no spec.

There is no list of system calls here: ``ctr`` makes its profile of the plugin's capabilities, its own version and the
kernel, and it is asked for that of a container that is never started. That takes 0.1 s, so it is kept in the root.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pluginexec.containerd.programs import runtime_has_seccomp
from pluginexec.containerd.remote import Remote
from pluginexec.errors import InvalidArgument, PluginExecError, Unknown
from pluginexec.linux.directories import make_directory
from pluginexec.linux.files import read_bounded, write_plain
from pluginexec.linux.machine import has_seccomp
from pluginexec.oci.json_reader import parse_object
from pluginexec.oci.options.capabilities import NAMES
from pluginexec.oci.options.values import section
from pluginexec.root.layout import Layout

log = logging.getLogger(__name__)

_NAMESPACE = "pluginexec.seccomp"
"""Of its own: nothing that lists plugins sees the container."""
_RUNTIME = "runc"
_MOST_FILES = 32
_WITHOUT = "do without: --security-opt seccomp=unconfined"


def default_seccomp(remote: Remote, rootfs: str, capabilities: Iterable[str], layout: Layout) -> dict[str, Any] | None:
    """Return the profile for a plugin with these capabilities; ``None`` where kernel or runtime have no seccomp.

    Raises what ``ctr`` fails with, and what ``Layout.make`` does.
    """
    if not has_seccomp():
        log.debug("the kernel has no seccomp: plugins may make any system call")
        return None
    runtime = remote.runtime or _RUNTIME
    names = sorted(capabilities)
    key = {
        "ctr": _identity(remote.ctr),
        "runtime": _identity(runtime),
        "kernel": os.uname().release,
        "capabilities": names,
    }
    mask = sum(1 << NAMES.index(name) for name in names)
    file = layout.seccomp / f"{os.path.basename(runtime)}-{mask:x}.json"
    content = _read(file, key)
    if content is None:
        profile = _ask(remote, rootfs, names) if runtime_has_seccomp(runtime) else None
        content = {"key": key, "profile": profile}
        _write(layout, file, content)
    result = content["profile"]
    if result is None:
        log.debug("the runtime %s has no seccomp: plugins may make any system call", runtime)
    return result if isinstance(result, dict) else None


def _identity(program: str) -> list[Any]:
    """Return what changes when a program is replaced by another version."""
    path = os.path.realpath(shutil.which(program) or program)
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        return [path, status.st_size, status.st_mtime_ns]
    return [path]


def _ask(remote: Remote, rootfs: str, capabilities: list[str]) -> dict[str, Any]:
    client = remote.new_client(_NAMESPACE)
    id = f"profile-{secrets.token_hex(6)}"
    try:
        client.create_confined(id, rootfs, capabilities)
        try:
            spec = client.container_spec(id)
        finally:
            client.delete_container(id)
    except PluginExecError as error:
        error.operation = "ask for the default seccomp profile"
        error.hint = error.hint or _WITHOUT
        raise
    with contextlib.suppress(PluginExecError):  # another command asks at this moment
        client.delete_namespace()
    profile = section(spec, "linux").get("seccomp")
    if not isinstance(profile, dict):
        raise Unknown("ctr made a container without the seccomp profile that it was asked for", hint=_WITHOUT)
    return profile


def _read(file: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was kept for a key; ``None`` if there is nothing of use."""
    with contextlib.suppress(OSError, InvalidArgument):
        content = parse_object(read_bounded(file), f"file {str(file)!r}")
        if content.get("key") == key and "profile" in content:
            return content
    return None


def _write(layout: Layout, file: Path, content: dict[str, Any]) -> None:
    """Keep a profile, whole or not at all; one that cannot be kept is asked for again."""
    layout.make()
    make_directory(layout.seccomp)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        write_plain(draft, json.dumps(content))
        draft.replace(file)
        old = sorted(layout.seccomp.iterdir(), key=lambda path: path.lstat().st_mtime_ns)[:-_MOST_FILES]
        for path in old:
            path.unlink(missing_ok=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        log.debug("the seccomp profile could not be kept: %s", error)
