"""Signals to a plugin: through containerd where that is possible, and so that a paused plugin can end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from pluginexec.containerd.client import Client
from pluginexec.errors import NotFound, PluginExecError
from pluginexec.executor.plugins import PluginTable, SupervisedPlugin
from pluginexec.linux.cgroups import CgroupPath, is_paused, thaw
from pluginexec.validation import signal_name

log = logging.getLogger(__name__)


def kill_notice(number: int, seconds: float) -> str:
    """Return what is said of a plugin that goes on ``seconds`` after the signal that was to end it."""
    return f"ignored {signal_name(number)} for {seconds:g} s: killed"


def send(client: Client, table: PluginTable, plugin: SupervisedPlugin, number: int) -> None:
    """Send a signal through containerd, or to the process itself where the runtime has lost its state of it."""
    try:
        client.kill(plugin.id, number)
    except NotFound:
        if not table.send(plugin, number):
            raise


def send_to_end(client: Client, table: PluginTable, plugin: SupervisedPlugin, number: int) -> None:
    """Send a signal that is to end a plugin, also where it is paused; nothing happens if it has ended."""
    with contextlib.suppress(NotFound):
        send(client, table, plugin, number)
    resume_paused(client, plugin.id, plugin.cgroups_path, lambda: not table.is_alive(plugin))


def resume_paused(client: Client, id: str, cgroup: CgroupPath, has_ended: Callable[[], bool]) -> None:
    """Resume a plugin, if it is paused, to which a signal was sent that is to end it.

    As in docker, the signal comes first, so that no instruction runs before it. Asks the kernel whether it is paused,
    which costs no ``ctr``; resumes through containerd, which keeps a state of its own, else in the kernel.
    """
    paused = is_paused(cgroup)
    if paused is False or (paused is None and has_ended()):
        return
    try:
        client.resume(id)
    except PluginExecError as error:
        log.debug("%s; its cgroup is thawed", error)
        thaw(cgroup)
