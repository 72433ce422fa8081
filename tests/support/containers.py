"""Containers made without an executor, and without a logger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pluginexec.containerd.client import Client
from pluginexec.root.plugin_files import PluginFiles
from pluginexec.root.root import Root
from pluginexec.streams.shell_logger import NO_LOGGER
from pluginexec.types import TaskState
from tests.support.harness import wait_until


def run(client: Client, root: Root, id: str, spec: dict[str, Any]) -> PluginFiles:
    """Run a container whose output is discarded, with its files where an executor has them."""
    files = root.plugin(id)
    files.make(spec)
    client.run(id, config=files.config, runc_root=root.runtime_root, pid_file=files.pid, io=NO_LOGGER)
    return files


def wait_for_state(client: Client, id: str, state: TaskState) -> None:
    """Wait until containerd says that a task is in a state."""
    wait_until(lambda: (task := client.tasks().get(id)) and task.state is state, f"{id} {state.value}")


def ctr(client: Client, *arguments: str) -> None:
    """Run a ``ctr`` command that the client has no method for."""
    client._ctr.run(*arguments, operation="test")


def slow_hook(spec: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Have a spec's create hang, in a hook, behind its cgroups; it makes the file ``begun`` then."""
    hook = directory / "hook"
    hook.write_text(f"#!/bin/sh\ntouch '{directory}/begun'\nexec sleep 1000\n")
    hook.chmod(0o755)
    return spec | {"hooks": {"createRuntime": [{"path": str(hook)}]}}
