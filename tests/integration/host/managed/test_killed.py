"""A command on a managed plugin is SIGKILLed between two of its steps; the next one finds out how far it came.

Real: containerd, the plugins, the processes of the commands and their deaths, which they bring about themselves: so
each falls between two certain steps.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd
from pluginexec.errors import FailedPrecondition, NotFound
from pluginexec.host.managed.manager import ManagedHost
from pluginexec.host.managed.store import Managed
from pluginexec.host.records import is_alive
from pluginexec.linux.mounts import mount_points_below, unmount_below
from tests.support.harness import PATIENCE, wait_until
from tests.support.layouts import one_directory
from tests.support.managed_plugins.bundles import make_bundle
from tests.support.probe import environment

KILLED = """if True:
    import importlib, os, signal, sys
    when, function, root, work = sys.argv[1:5]
    module, name = function.rsplit(".", 1)
    kind = module.rpartition(".")[2]
    if kind[0].isupper():
        owner = getattr(importlib.import_module(module.rpartition(".")[0]), kind)
    else:
        owner = importlib.import_module(module)
    real = getattr(owner, name)

    def dying(*args, **keywords):
        if when == "after":
            real(*args, **keywords)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)
    from pluginexec.host.managed.manager import ManagedHost
    from pluginexec.host.managed.store import Managed
    from pluginexec.root.layout import Layout
    host = ManagedHost(Layout.of(root, root))
    exec(work)
"""


@pytest.fixture
def host(clean_namespace: None, root_dir: Path) -> Iterator[ManagedHost]:
    """The managed plugins of the test's root."""
    yield ManagedHost(one_directory(root_dir))
    unmount_below(root_dir)


@pytest.fixture
def name(host: ManagedHost, id: str, tmp_path: Path) -> str:
    """A plugin that was created."""
    host.store.create(Managed(id, datetime.now(timezone.utc)), make_bundle(tmp_path / "bundle", "volume"))
    return id


def run_killed(host: ManagedHost, when: str, function: str, work: str) -> None:
    """Do some work in a process that is killed before or after it calls a function."""
    argv = [sys.executable, "-c", KILLED, when, function, str(host.store.layout.root), work]
    done = subprocess.run(argv, env=environment(), capture_output=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def assert_gone(host: ManagedHost, name: str) -> None:
    """See that a plugin that was removed has left nothing."""
    assert host.store.names() == host.host.records.ids() == []
    assert [path.name for path in (host.store.layout.root / "managed").iterdir()] == [".lock"]
    assert not mount_points_below(host.store.layout.root)


ENABLING = [
    ("before", "pluginexec.host.records.Records.create"),
    ("before", "pluginexec.host.host.Host.start"),
    ("after", "pluginexec.managed.directories.PluginDirectories.prepare"),
    ("after", "pluginexec.executor.executor.Executor.create"),
    ("before", "pluginexec.managed.activation.PluginRunner._activate"),
    ("before", "pluginexec.host.managed.store.ManagedStore.write_implements"),
    ("after", "pluginexec.host.managed.store.ManagedStore.write_implements"),
]


@pytest.mark.parametrize(("when", "function"), ENABLING)
def test_what_was_killed_while_it_enabled_a_plugin_is_finished_by_the_next(
    host: ManagedHost, name: str, containerd: Containerd, when: str, function: str
) -> None:
    run_killed(host, when, function, f"host.enable({name!r}, {containerd.address!r}, {PLUGIN_NAMESPACE!r})")
    if when == "after" and function.endswith("write_implements"):
        with pytest.raises(FailedPrecondition, match="plugin already enabled"):
            host.enable(name, containerd.address, PLUGIN_NAMESPACE)
    else:
        assert host.store.implements(name) is None
        host.enable(name, containerd.address, PLUGIN_NAMESPACE)
    assert host.store.implements(name) == ["VolumeDriver"]
    host.call(name, "VolumeDriver.List", {}, 30.0)
    host.remove(name, force=True)
    assert_gone(host, name)


@pytest.mark.parametrize(
    ("function", "runs"),
    [
        ("pluginexec.managed.directories.PluginDirectories.prepare", False),
        ("pluginexec.executor.executor.Executor.create", True),
    ],
)
def test_what_was_killed_while_it_enabled_a_plugin_can_be_taken_back(
    host: ManagedHost, name: str, containerd: Containerd, function: str, runs: bool
) -> None:
    run_killed(host, "after", function, f"host.enable({name!r}, {containerd.address!r}, {PLUGIN_NAMESPACE!r})")
    if runs:
        # Before it has a handler, the kernel keeps SIGTERM from it.
        wait_until((host.store.files(name).directories.exec_dir / "volume.sock").exists, "its socket")
        host.disable(name)
    else:
        with pytest.raises(FailedPrecondition, match="already disabled"):
            host.disable(name)
    assert not is_alive(host.host.records.state(name))
    assert not mount_points_below(host.store.layout.root)
    host.remove(name)
    assert_gone(host, name)


@pytest.mark.parametrize(
    ("when", "function"),
    [
        ("after", "pluginexec.host.host.Host.stop"),
        ("after", "pluginexec.managed.directories.PluginDirectories.clear"),
    ],
)
def test_what_was_killed_while_it_disabled_a_plugin_is_finished_by_the_next(
    host: ManagedHost, name: str, containerd: Containerd, when: str, function: str
) -> None:
    host.enable(name, containerd.address, PLUGIN_NAMESPACE)
    run_killed(host, when, function, f"host.disable({name!r})")
    host.disable(name)
    assert not is_alive(host.host.records.state(name))
    assert not mount_points_below(host.store.layout.root)
    assert host.store.implements(name) is None
    host.remove(name)
    assert_gone(host, name)


@pytest.mark.parametrize(
    ("when", "function"),
    [
        ("before", "pluginexec.host.managed.store.ManagedStore.remove"),
        ("before", "pluginexec.host.managed.store._discard"),
    ],
)
def test_what_was_killed_while_it_removed_a_plugin_is_finished_by_the_next(
    host: ManagedHost, name: str, containerd: Containerd, when: str, function: str
) -> None:
    host.enable(name, containerd.address, PLUGIN_NAMESPACE)
    host.disable(name)
    run_killed(host, when, function, f"host.remove({name!r})")
    if name in host.store.names():
        host.remove(name)
    else:
        with pytest.raises(NotFound):
            host.remove(name)
    assert_gone(host, name)


@pytest.mark.parametrize(
    ("when", "function"),
    [
        ("before", "pluginexec.host.managed.store.take_lock"),
        ("after", "pluginexec.managed.bundle.unpack"),
    ],
)
def test_what_was_killed_while_it_created_a_plugin_is_cleared_away_by_the_next(
    host: ManagedHost, id: str, tmp_path: Path, when: str, function: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle", "volume")
    managed = f"Managed({id!r}, datetime.now(timezone.utc))"
    work = f"from datetime import datetime, timezone; host.store.create({managed}, {str(bundle)!r})"
    run_killed(host, when, function, work)
    assert host.store.names() == []
    host.store.create(Managed(id, datetime.now(timezone.utc)), bundle)
    host.remove(id)
    assert_gone(host, id)
