"""Managed plugins in the background, as the commands enable, restart and disable them.

Real: containerd, the plugins (the tests' volume plugin, on the host's Python), their sockets, mounts and logs, serve.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, ManagedPlugin
from pluginexec.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, InvalidArgument, Unknown
from pluginexec.host.logs.reader import read
from pluginexec.host.managed.manager import ManagedHost
from pluginexec.host.managed.store import Managed
from pluginexec.host.records import is_alive
from pluginexec.linux.mounts import mount_points_below, unmount_below
from tests.support.harness import PATIENCE, wait_until
from tests.support.layouts import one_directory
from tests.support.managed_plugins.bundles import make_bundle
from tests.support.plugins import Plugins
from tests.support.serving import Serving

Create = Callable[..., str]
Enable = Callable[..., None]
Serve = Callable[[], Serving]


@pytest.fixture
def host(clean_namespace: None, root_dir: Path) -> Iterator[ManagedHost]:
    """The managed plugins of the test's root; what they have mounted goes before the root does."""
    yield ManagedHost(one_directory(root_dir))
    unmount_below(root_dir)


@pytest.fixture
def create(host: ManagedHost, tmp_path: Path, new_id: Callable[[], str]) -> Create:
    """Create a volume plugin, with changes of its configuration; ``script`` is what it runs instead."""
    numbers = itertools.count()

    def make(script: str = "", *, restart: str = "no", driver: str = "json-file", **changes: Any) -> str:
        if script:
            changes["entrypoint"] = [os.path.realpath(sys.executable), "-I", "-S", "-c", script]
        name = new_id()
        bundle = make_bundle(tmp_path / f"bundle{next(numbers)}", "volume", **changes)
        host.store.create(Managed(name, datetime.now(timezone.utc), restart, driver), bundle)
        return name

    return make


@pytest.fixture
def enable(host: ManagedHost, containerd: Containerd) -> Enable:
    """Enable a plugin on the tests' containerd."""
    return lambda name, timeout=30.0: host.enable(name, containerd.address, PLUGIN_NAMESPACE, timeout)


@pytest.fixture
def serve(host: ManagedHost, root_dir: Path, containerd: Containerd) -> Iterator[Serve]:
    """Start a serve; it ends with the test."""
    started: list[Serving] = []

    def make() -> Serving:
        started.append(Serving(root_dir, containerd.address, stop_timeout=0.1))
        started[-1].await_ready()
        return started[-1]

    yield make
    for each in started:
        each.end()


def volumes(host: ManagedHost, name: str) -> object:
    return host.call(name, "VolumeDriver.List", {}, 30.0)


def assert_nothing_is_left(host: ManagedHost, name: str) -> None:
    """See that a plugin does not run, and that its socket and its mounts are gone."""
    assert not is_alive(host.host.records.state(name))
    assert not host.store.files(name).directories.exec_dir.exists()
    assert not mount_points_below(host.store.layout.root)
    assert host.store.implements(name) is None


LISTENS = "VolumeDriver listens\n"
NONE: dict[str, Any] = {"Volumes": [], "Err": ""}


def test_it_is_enabled_once_and_disabled_once(host: ManagedHost, create: Create, enable: Enable) -> None:
    name = create()
    enable(name)
    assert is_alive(host.host.records.state(name))
    assert host.store.implements(name) == ["VolumeDriver"]
    assert volumes(host, name) == NONE
    with pytest.raises(FailedPrecondition, match=f"enable '{name}': plugin already enabled"):
        enable(name)
    assert volumes(host, name) == NONE
    host.disable(name)
    assert_nothing_is_left(host, name)
    assert host.host.records.state(name).exit_code == 0
    with pytest.raises(FailedPrecondition, match=f"disable '{name}': plugin is already disabled"):
        host.disable(name)
    with pytest.raises(FailedPrecondition, match=f"call '{name}': plugin is not enabled"):
        volumes(host, name)


def test_of_two_that_enable_it_at_the_same_time_one_does(host: ManagedHost, create: Create, enable: Enable) -> None:
    name = create()
    together, results = threading.Barrier(2), list[str]()

    def work() -> None:
        together.wait(PATIENCE)
        try:
            enable(name)
            results.append("enabled")
        except FailedPrecondition as error:
            results.append(error.message)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(results) == ["enabled", "plugin already enabled"]
    assert volumes(host, name) == NONE
    host.disable(name)


def test_it_is_enabled_again_with_what_was_set_and_its_log_goes_on(
    host: ManagedHost, create: Create, enable: Enable
) -> None:
    name = create("import os; print(os.environ['LABEL'], flush=True); import sys; sys.path.append('/plugin');"
                  "import volume; volume.main()")  # fmt: skip
    for label in ("one", "two"):
        host.set(name, [f"LABEL={label}"])
        enable(name)
        with pytest.raises(FailedPrecondition, match="can be set only while it is disabled"):
            host.set(name, ["LABEL=three"])
        host.disable(name)
    assert printed(host, name) == ["one\n", LISTENS, "two\n", LISTENS]


def test_what_it_mounts_shows_on_the_host_until_it_is_disabled(
    host: ManagedHost, create: Create, enable: Enable
) -> None:
    name = create()
    enable(name)
    host.call(name, "VolumeDriver.Create", {"Name": "data"}, 30.0)
    host.call(name, "VolumeDriver.Mount", {"Name": "data"}, 30.0)
    propagated = host.store.files(name).directories.propagated_mount
    assert (propagated / "data" / "made-by").read_text() == "none"
    host.disable(name)
    assert_nothing_is_left(host, name)


def test_what_it_says_in_err_is_an_error_with_its_name(host: ManagedHost, create: Create, enable: Enable) -> None:
    name = create()
    enable(name)
    with pytest.raises(Unknown, match=f"call '{name}': VolumeDriver.Create failed: refused, as was asked for"):
        host.call(name, "VolumeDriver.Create", {"Name": "a", "Opts": {"refuse": "yes"}}, 30.0)
    host.disable(name)


FAILS = "import sys; print('no way'); sys.exit(3)"


@pytest.mark.parametrize("driver", ["json-file", "raw"])
def test_one_that_ends_before_it_is_ready_is_reported_at_once_with_its_code_and_last_output(
    host: ManagedHost, create: Create, enable: Enable, driver: str
) -> None:
    name = create(FAILS, driver=driver)
    for _ in range(2):  # the second time, there is an older output, too
        with pytest.raises(FailedPrecondition) as raised:
            enable(name, timeout=1000.0)
        said = "it ended with exit code 3 before it was ready; its last output: no way"
        assert str(raised.value) == f"enable '{name}': {said}"
    assert_nothing_is_left(host, name)


def test_one_that_ends_before_it_is_ready_is_not_started_again_by_its_policy(
    host: ManagedHost, create: Create, enable: Enable, serve: Serve
) -> None:
    name = create(FAILS, restart="always")
    serve()
    with pytest.raises(FailedPrecondition, match="exit code 3"):
        enable(name)
    assert host.host.records.stopped(name)
    wait_until(lambda: not host.host.records.is_locked(name), "the end of the supervisor")
    assert host.host.records.state(name).status == "exited"
    assert_nothing_is_left(host, name)


def test_one_that_never_listens_is_stopped_when_the_time_is_over(
    host: ManagedHost, create: Create, enable: Enable
) -> None:
    name = create("import signal, sys; signal.signal(15, lambda *_: sys.exit()); signal.pause()")
    with pytest.raises(DeadlineExceeded, match=r"no answer on its socket .* within 0.3 s: no such file") as raised:
        enable(name, timeout=0.3)
    assert raised.value.hint == f"'pluginexec plugin logs {name}' shows all that it printed"
    assert_nothing_is_left(host, name)


def test_one_that_implements_something_else_is_stopped(host: ManagedHost, create: Create, enable: Enable) -> None:
    name = create(interface={"types": ["docker.authz/1.0"], "socket": "volume.sock"})
    with pytest.raises(FailedPrecondition, match=r"docker.authz/1.0, but Plugin.Activate answered VolumeDriver"):
        enable(name)
    assert_nothing_is_left(host, name)


def test_one_whose_device_is_not_there_is_not_started(host: ManagedHost, create: Create, enable: Enable) -> None:
    name = create()
    host.set(name, ["disk=/dev/none"])
    with pytest.raises(InvalidArgument, match=f"enable '{name}': device '/dev/none': no such file"):
        enable(name)
    assert host.record(name) is None
    host.set(name, ["disk=/dev/null"])
    enable(name)
    host.disable(name)


def test_one_that_does_not_heed_sigterm_is_killed(host: ManagedHost, create: Create, enable: Enable) -> None:
    name = create("import sys, signal, _thread; sys.path.append('/plugin'); import volume, server;"
                  "server.signal.signal = lambda *_: None; signal.signal(15, 1); volume.main()")  # fmt: skip
    enable(name)
    host.disable(name, timeout=0.1)
    assert_nothing_is_left(host, name)
    assert host.host.records.state(name).exit_code == 128 + signal.SIGKILL


def test_serve_starts_it_again_and_the_socket_of_its_last_life_is_not_in_the_way(
    host: ManagedHost, create: Create, enable: Enable, serve: Serve
) -> None:
    serve()
    name = create(restart="always")
    enable(name)
    host.call(name, "VolumeDriver.Create", {"Name": "data"}, 30.0)
    os.kill(host.host.records.state(name).pid, signal.SIGKILL)  # which leaves its socket behind
    wait_until(lambda: printed(host, name).count(LISTENS) == 2, "the restart")
    assert volumes(host, name) == NONE
    state = host.host.records.state(name)
    assert (state.restart_count, state.status) == (1, "running")
    host.disable(name)
    assert_nothing_is_left(host, name)
    enable(name)
    assert volumes(host, name) == NONE
    assert host.host.records.state(name).restart_count == 0
    host.disable(name)


def printed(host: ManagedHost, name: str) -> list[str]:
    """Return what a plugin has printed to stdout, in all of its runs."""
    entries = read(host.host.records.directory(name), name, "json-file", streams=("stdout",))
    return [entry.data.decode() for entry in entries]


def test_what_was_disabled_stays_so_when_serve_starts(
    host: ManagedHost, create: Create, enable: Enable, serve: Serve
) -> None:
    disabled, enabled = create(restart="always"), create(restart="always")
    for name in (disabled, enabled):
        enable(name)
    host.disable(disabled)
    os.kill(host.host.records.state(enabled).pid, signal.SIGKILL)
    host.host.wait(enabled)
    serve()
    assert host.host.records.state(enabled).status == "running"
    assert host.host.records.state(disabled).status == "exited"
    # Before it has a handler, the kernel keeps SIGTERM from it.
    wait_until(lambda: printed(host, enabled).count(LISTENS) == 2, "the restart")
    host.disable(enabled)


def test_one_that_was_stopped_otherwise_can_be_enabled_again_or_disabled(
    host: ManagedHost, create: Create, enable: Enable
) -> None:
    name = create()
    enable(name)
    host.host.stop(name)
    enable(name)
    assert volumes(host, name) == NONE
    host.host.stop(name)
    host.disable(name)
    assert_nothing_is_left(host, name)


def test_an_enabled_plugin_is_removed_only_by_force(host: ManagedHost, create: Create, enable: Enable) -> None:
    name = create()
    enable(name)
    host.call(name, "VolumeDriver.Create", {"Name": "data"}, 30.0)
    host.call(name, "VolumeDriver.Mount", {"Name": "data"}, 30.0)
    with pytest.raises(FailedPrecondition, match=f"remove '{name}': plugin is enabled"):
        host.remove(name)
    assert is_alive(host.host.records.state(name))
    host.remove(name, force=True)
    assert host.store.names() == host.host.records.ids() == []
    assert not mount_points_below(host.store.layout.root)


def test_a_plugin_of_that_id_that_is_not_managed_is_left_alone(
    host: ManagedHost, create: Create, enable: Enable, plugins: Plugins
) -> None:
    name = create()
    plugins.run(id=name)
    with pytest.raises(AlreadyExists, match="this id belongs to a plugin that is not managed"):
        enable(name)
    host.remove(name)
    assert is_alive(plugins.records.state(name))
    plugins.host.remove(name, force=True)


def test_a_program_that_uses_its_name_on_the_same_root_does_not_remove_its_files(
    host: ManagedHost, create: Create, enable: Enable, new_executor: Callable[..., Executor]
) -> None:
    name = create()
    ManagedPlugin(new_executor(shared=True), host.store.files(name).bundle, id=name).remove()
    enable(name)
    assert volumes(host, name) == NONE
    host.disable(name)


def test_the_path_of_its_socket_may_be_longer_than_the_kernel_takes(
    clean_namespace: None, containerd: Containerd, tmp_path: Path, id: str
) -> None:
    host = ManagedHost(one_directory(tmp_path / ("long" * 30)))
    host.store.create(Managed(id, datetime.now(timezone.utc)), make_bundle(tmp_path / "bundle", "volume"))
    host.enable(id, containerd.address, PLUGIN_NAMESPACE)
    assert volumes(host, id) == NONE
    host.remove(id, force=True)
    assert not mount_points_below(host.store.layout.root)
