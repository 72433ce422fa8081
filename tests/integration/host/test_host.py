"""Steps on a plugin that the console script does not show; for the rest see tests/integration/cli/test_lifecycle.py.

Real: containerd, the plugins, the records. A signal that takes its time is the test's own.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pluginexec.host.host import Host
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


def test_no_life_ends_before_it_began(plugins: Plugins) -> None:
    state = plugins.host.wait(plugins.run("true"))
    assert state.started_at
    assert state.finished_at
    assert state.started_at < state.finished_at
