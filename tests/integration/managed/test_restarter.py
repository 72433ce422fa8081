"""A managed plugin that ends by itself is started again, as its restart policy says.

Real: containerd, runc, plugins that are killed or end.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginexec import Executor, FailedPrecondition, ManagedPlugin, PluginExecError
from pluginexec.managed import plugin as managed_plugin
from pluginexec.managed import restarter
from tests.integration.managed.conftest import NewBundle, NewPlugin
from tests.support.harness import our_threads, wait_until

COUNTED = "open('/srv/runs', 'a').write('x'); "
SERVE = "import sys; sys.path.append('/plugin'); import volume; volume.main()"


def answers(plugin: ManagedPlugin) -> bool:
    """Return whether a plugin can be called."""
    with contextlib.suppress(PluginExecError):
        return bool(plugin.call("VolumeDriver.Capabilities"))
    return False


def test_a_plugin_that_was_killed_is_started_again_and_can_be_called(new_plugin: NewPlugin, executor: Executor) -> None:
    plugin = new_plugin("volume", restart="always")
    plugin.enable()
    plugin.call("VolumeDriver.Create", {"Name": "data"})
    before = executor.pid(plugin.id)
    executor.signal(plugin.id, signal.SIGKILL)
    wait_until(lambda: plugin.enabled and pid(executor, plugin.id) not in (0, before), "the restart")
    wait_until(lambda: answers(plugin), "its answer")
    assert plugin.call("VolumeDriver.List") == {"Volumes": [], "Err": ""}
    plugin.disable()
    assert not plugin.enabled


def pid(executor: Executor, id: str) -> int:
    """Return the pid of a plugin, 0 if it does not run."""
    with contextlib.suppress(PluginExecError):
        return executor.pid(id)
    return 0


def test_it_is_given_up_after_as_many_failures_as_the_policy_allows(
    new_plugin: NewPlugin, executor: Executor, new_bundle: NewBundle, caplog: pytest.LogCaptureFixture
) -> None:
    # It serves at the first start; each further start fails at once.
    script = f"{COUNTED}import os; os.path.getsize('/srv/runs') > 1 and sys.exit('worn out'); {SERVE}"
    bundle = new_bundle("volume", script=f"import sys; {script}", mounts=mounts(new_bundle))
    plugin = new_plugin(bundle, restart="on-failure:2")
    plugin.enable()
    executor.signal(plugin.id, signal.SIGKILL)
    wait_until(lambda: not plugin.enabled, "its end")
    assert (bundle / "rootfs" / "srv" / "runs").read_text() == "xxx"
    messages = [record.getMessage() for record in caplog.records]
    assert any("restarting it in 0.1 s" in each for each in messages)
    assert any("restarting it in 0.2 s" in each for each in messages)
    assert "its last output: worn out; not restarting it after 2 restarts" in messages[-1]
    plugin.disable()


def mounts(new_bundle: NewBundle) -> list[object]:
    """Return the mounts of the volume plugin without the one at /srv."""
    from tests.support.managed_plugins.bundles import plugin_config

    return [each for each in plugin_config("volume")["mounts"] if each["destination"] != "/srv"]


def test_one_that_ended_well_is_not_started_again_on_failure(new_plugin: NewPlugin, executor: Executor) -> None:
    plugin = new_plugin("volume", restart="on-failure")
    plugin.enable()
    executor.signal(plugin.id, signal.SIGTERM)
    wait_until(lambda: not plugin.enabled, "its end")
    assert pid(executor, plugin.id) == 0


def test_disabling_ends_the_thread_and_the_plugin_and_not_one_after_the_other_again(
    new_plugin: NewPlugin, executor: Executor
) -> None:
    plugin = new_plugin("volume", restart="always")
    plugin.enable()
    name = f"pluginexec-{plugin.id}-restart"
    assert name in our_threads()
    status = plugin.disable()
    assert status
    assert status.exit_code == 0
    assert name not in our_threads()
    assert pid(executor, plugin.id) == 0


def test_disabling_does_not_wait_for_the_end_of_a_pause(
    new_plugin: NewPlugin, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarter, "pause_before", lambda restarts: 3600.0)
    plugin = new_plugin("volume", restart="always")
    plugin.enable()
    executor.signal(plugin.id, signal.SIGKILL)
    wait_until(lambda: pid(executor, plugin.id) == 0, "its end")
    assert plugin.enabled
    status = plugin.disable()
    assert status
    assert status.exit_code == 137


def test_disabling_gives_up_a_start_that_is_under_way(
    new_plugin: NewPlugin, executor: Executor, new_bundle: NewBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed_plugin, "START_TIMEOUT", 3600.0)
    # It serves at the first start; after the next one it never answers.
    obey = "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"
    script = f"{obey}\n{COUNTED}\nif os.path.getsize('/srv/runs') > 1: signal.pause()\n{SERVE}"
    bundle = new_bundle("volume", script=script, mounts=mounts(new_bundle))
    plugin = new_plugin(bundle, restart="always")
    plugin.enable()
    before = executor.pid(plugin.id)
    executor.signal(plugin.id, signal.SIGKILL)
    runs = bundle / "rootfs" / "srv" / "runs"
    wait_until(lambda: runs.read_text() == "xx" and pid(executor, plugin.id) not in (0, before), "the restart")
    plugin.disable()
    assert pid(executor, plugin.id) == 0


def test_a_closed_executor_ends_the_watch_and_leaves_the_plugin(
    new_executor: Callable[..., Executor], new_bundle: NewBundle, id: str, root_dir: Path
) -> None:
    executor = new_executor()
    plugin = ManagedPlugin(executor, new_bundle("volume"), id=id, restart="always")
    plugin.enable()
    executor.close()
    with pytest.raises(FailedPrecondition, match="the executor is closed"):
        plugin.disable()
    assert plugin.socket.exists()
    after = ManagedPlugin(new_executor(), new_bundle("volume"), id=id)
    assert after.disable() is not None
    status = plugin.disable()
    assert status
    assert status.exit_code == 0
