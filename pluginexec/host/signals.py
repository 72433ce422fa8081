"""Signals to the plugins of a root, whatever became of their containerd."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pluginexec.containerd.client import Client
from pluginexec.containerd.remote import Remote
from pluginexec.errors import PluginExecError
from pluginexec.executor.signals import resume_paused
from pluginexec.host.records import Record, Records
from pluginexec.linux.cgroups import cgroup_of
from pluginexec.linux.pidfd import InitProcess

log = logging.getLogger(__name__)


def send(client: Callable[[], Client], id: str, init: InitProcess, number: int) -> None:
    """Send a signal through containerd, or to the process itself where that does not go."""
    try:
        client().kill(id, number)
    except PluginExecError as error:
        log.debug("%s; the signal goes to the process itself", error)
        init.send(number)


def resume(records: Records, record: Record, init: InitProcess, timeout: float) -> None:
    """Resume a plugin, if it is paused, to which a signal was sent that is to end it; starts no containerd."""
    client = Remote(record.address, runtime=record.runtime, timeout=timeout).new_client(record.namespace)
    resume_paused(client, record.id, cgroup_of(init.pid, records.spec(record.id)), init.has_ended)
