"""Steps on a plugin that the console script does not show; for the rest see tests/integration/cli/test_lifecycle.py.

Real: containerd, the plugins, the records. A signal that takes its time is the test's own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pluginexec.errors import Unavailable
from pluginexec.host.host import Host
from pluginexec.host.pause import pause
from tests.support.harness import wait_until
from tests.support.plugins import Plugins


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
