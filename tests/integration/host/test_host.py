"""Steps on a plugin that the console script does not show; for the rest see tests/integration/cli/test_lifecycle.py.

Real: containerd, the plugins, the records, the kernel's OOM killer. A signal that takes its time is the test's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd
from pluginexec.errors import Unavailable
from pluginexec.host.host import Host
from pluginexec.host.pause import pause
from pluginexec.host.records import is_alive
from tests.support.fleet import KERNEL_TELLS_CODES
from tests.support.harness import wait_until
from tests.support.plugins import Plugins

SMALL = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}


def test_a_forced_removal_waits_for_an_end_that_takes_its_time(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = plugins.run()
    late: list[threading.Timer] = []

    def send_late(host: Host, record: Any, init: Any, number: int) -> None:
        late.append(threading.Timer(0.3, init.send, [number]))
        late[-1].start()

    monkeypatch.setattr(Host, "_send", send_late)
    plugins.host.remove(id, force=True)
    late[0].join()
    assert plugins.records.ids() == []


@pytest.mark.parametrize("end", [Host.kill, Host.stop, lambda host, id: host.remove(id, force=True)])
def test_a_paused_plugin_ends_though_its_containerd_is_gone(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, end: Callable[[Host, str], None]
) -> None:
    id = plugins.run()
    pause(plugins.host, id)
    here = plugins.records.record(id)
    records = plugins.records
    with plugins.host.held(id) as init, monkeypatch.context() as patched:
        assert init
        patched.setattr(records, "record", lambda id: replace(here, address="/nothing/listens/here"))
        with contextlib.suppress(Unavailable):  # how it ended is not known now
            end(plugins.host, id)
        wait_until(init.has_ended, "its end")


def test_no_life_ends_before_it_began(plugins: Plugins) -> None:
    state = plugins.host.wait(plugins.run("true"))
    assert state.started_at
    assert state.finished_at
    assert state.started_at < state.finished_at


@pytest.mark.parametrize("driver", ["none", "json-file", "raw"])
@pytest.mark.parametrize(
    ("script", "code"), [("exec tail /dev/zero", 137), ("tail /dev/zero; exit 3", 3)], ids=["init", "child"]
)
def test_what_the_oom_killer_did_is_known_of_a_plugin_whose_end_is_found_later(
    plugins: Plugins, script: str, code: int, driver: str
) -> None:
    id = plugins.run(script, resources=SMALL, log_driver=driver)
    wait_until(lambda: not is_alive(plugins.records.state(id)), "its end")
    state = plugins.host.reconcile(id)
    assert (state.status, state.exit_code, state.oom_killed) == ("exited", code, True)


def test_of_a_plugin_with_a_relative_cgroup_too(plugins: Plugins) -> None:
    id = plugins.create("tail /dev/zero; exit 3", resources=SMALL)
    spec = plugins.records.spec(id)
    spec["linux"]["cgroupsPath"] = f"pluginexec/{id}"
    plugins.records.renew(plugins.records.record(id), spec)
    plugins.host.start(id)
    wait_until(lambda: not is_alive(plugins.records.state(id)), "its end")
    state = plugins.host.reconcile(id)
    assert (state.exit_code, state.oom_killed) == (3, True)


@pytest.mark.parametrize("driver", ["none", "json-file"])
def test_the_time_of_an_end_that_is_found_later_is_that_of_the_end_or_says_that_it_is_not(
    plugins: Plugins, driver: str
) -> None:
    id = plugins.run("trap 'exit 3' TERM; while :; do sleep 0.05; done", log_driver=driver)
    os.kill(plugins.records.state(id).pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(plugins.records.state(id)), "its end")
    pid = plugins.records.state(id).pid
    wait_until(lambda: driver == "none" or plugins.host.files(id).read_logged_exit(pid), "the logger's record")
    ended = datetime.now(timezone.utc)
    state = plugins.host.reconcile(id)
    assert state.finished_at
    assert (state.exit_code, state.finished_at_is_upper_bound) == (3, driver == "none")
    assert (state.finished_at <= ended) == (driver == "json-file")


def test_the_end_of_a_detached_plugin_is_known_whatever_becomes_of_containerd(
    root_dir: Path, mortal: Containerd, new_id: Any, shell: Any
) -> None:
    plugins = Plugins(root_dir, mortal.address, new_id, shell)
    id = plugins.run("trap 'exit 7' TERM; while :; do sleep 0.05; done", log_driver="json-file")
    init, daemon = plugins.records.state(id).pid, mortal.pid
    assert daemon
    os.kill(daemon, signal.SIGSTOP)
    os.kill(init, signal.SIGTERM)
    wait_until(lambda: plugins.host.files(id).read_logged_exit(init), "the logger's record")
    ended = datetime.now(timezone.utc)
    os.kill(daemon, signal.SIGKILL)  # 1.7 and later delete what has ended as they start
    wait_until(lambda: mortal.pid not in (None, daemon), "the next containerd")
    wait_until(mortal.remote.listens, "its socket")
    state = plugins.host.reconcile(id)
    assert state.finished_at
    assert state.finished_at <= ended
    assert not state.finished_at_is_upper_bound
    assert state.exit_code == 7 or not KERNEL_TELLS_CODES


def test_without_containerd_a_record_says_how_a_plugin_ended(
    root_dir: Path, mortal: Containerd, new_id: Any, shell: Any
) -> None:
    plugins = Plugins(root_dir, mortal.address, new_id, shell)
    id = plugins.run("exit 7", log_driver="json-file")
    pid = plugins.records.state(id).pid
    # The executor that started it may have seen its end too.
    wait_until(lambda: plugins.host.files(id).find_exit(pid), "a record of its end")
    Path(mortal.address).rename(f"{mortal.address}.away")
    try:
        state = plugins.host.current_state(id)
    finally:
        Path(f"{mortal.address}.away").rename(mortal.address)
    assert (state.status, state.exit_code) == ("exited", 7 if KERNEL_TELLS_CODES else None)
    assert state.finished_at
    assert plugins.host.reconcile(id).finished_at == state.finished_at
