"""How a plugin ended is known after a reboot too. Real: plugins; a reboot is a state directory that is empty again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd
from pluginexec.host.host import Host
from pluginexec.host.records import Record
from pluginexec.root.layout import Layout


@pytest.fixture
def host(clean_namespace: None, root_dir: Path) -> Host:
    return Host(Layout(root_dir / "root", root_dir / "state"))


def test_an_exit_that_was_recorded_before_the_container_was_deleted_survives_a_reboot(
    host: Host, containerd: Containerd, id: str, shell: Callable[..., dict[str, Any]]
) -> None:
    record = Record(id, datetime.now(timezone.utc), containerd.address, PLUGIN_NAMESPACE, ["sh"])
    host.records.create(record, shell(id, "exit 7"))
    with host.records.lock(id), host.executor(record) as executor:
        host.launch(executor, record, None, None)
        ended = executor.wait(id)
    # The power goes before what supervised it could write the state.
    state = host.records.state(id)
    assert state.status == "running"
    host.records.write_state(id, replace(state, boot_id="another boot"))
    shutil.rmtree(host.layout.state)
    seen = host.reconcile(id)
    assert (seen.status, seen.exit_code, seen.finished_at) == ("exited", 7, ended.exited_at)
    assert seen.finished_at_is_upper_bound is ended.exited_at_is_upper_bound


def test_the_exit_of_an_earlier_run_is_not_taken_for_that_of_a_later_one(
    host: Host, containerd: Containerd, id: str, shell: Callable[..., dict[str, Any]]
) -> None:
    record = Record(id, datetime.now(timezone.utc), containerd.address, PLUGIN_NAMESPACE, ["sh"])
    host.records.create(record, shell(id, "exit 7"))
    with host.records.lock(id), host.executor(record) as executor:
        host.launch(executor, record, None, None)
        executor.wait(id)
    later = datetime.now(timezone.utc)
    state = host.records.state(id)
    host.records.write_state(id, replace(state, boot_id="another boot", started_at=later))  # with its pid again
    shutil.rmtree(host.layout.state)
    seen = host.reconcile(id)
    assert (seen.status, seen.exit_code, seen.finished_at_is_upper_bound) == ("exited", None, True)
    assert seen.finished_at
    assert seen.finished_at >= later
