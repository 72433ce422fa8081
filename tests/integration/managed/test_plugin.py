"""Managed plugins of all three kinds that matter, from enable to disable, and what is left of them.

Real: containerd, runc, mounts, three plugins on the host's Python in an otherwise empty root file system.
"""

from __future__ import annotations

import io
import os
import signal
import struct
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import (
    AlreadyExists,
    DeadlineExceeded,
    Executor,
    FailedPrecondition,
    InvalidArgument,
    JsonFile,
    ManagedPlugin,
    NotFound,
    Unknown,
)
from pluginexec.containerd.client import Client
from pluginexec.managed import activation
from pluginexec.managed.client import wait_for_socket
from tests.integration.managed.conftest import NewBundle, NewPlugin
from tests.support.harness import PATIENCE, Buffer, wait_until

LONGER_THAN_ANY_TEST = 3600.0


def nothing_is_left(plugin: ManagedPlugin, client: Client, root_dir: Path) -> bool:
    """Return whether a plugin has left no container, no mount and no file but its exit record."""
    assert plugin.id not in client.tasks()
    assert plugin.id not in client.containers()
    assert plugin.id not in Path("/proc/self/mountinfo").read_text()
    assert not (root_dir / "managed" / plugin.id).exists()
    return not plugin.enabled


def test_a_volume_plugin_is_enabled_called_and_disabled(
    new_plugin: NewPlugin, executor: Executor, client: Client, root_dir: Path
) -> None:
    stdout, stderr = Buffer(), Buffer()
    plugin = new_plugin("volume", stdout=stdout, stderr=stderr)
    plugin.enable()
    assert plugin.enabled
    assert plugin.implements == ["VolumeDriver"]
    assert plugin.call("VolumeDriver.Create", {"Name": "data", "Opts": {}}) == {"Err": ""}
    assert plugin.call("VolumeDriver.Get", {"Name": "data"})["Volume"]["Name"] == "data"
    status = plugin.disable()
    assert status
    assert status.exit_code == 0
    assert stdout.data == b"VolumeDriver listens\n"
    assert stderr.data.splitlines() == [b"Plugin.Activate", b"VolumeDriver.Create", b"VolumeDriver.Get"]
    assert not plugin.socket.exists()
    assert nothing_is_left(plugin, client, root_dir)
    assert plugin.disable() is None


def test_what_a_plugin_mounts_in_its_propagated_mount_is_seen_on_the_host_until_it_is_disabled(
    new_plugin: NewPlugin, client: Client, root_dir: Path
) -> None:
    plugin = new_plugin("volume", settings=["LABEL=ours"])
    plugin.enable()
    plugin.call("VolumeDriver.Create", {"Name": "data"})
    assert plugin.call("VolumeDriver.Mount", {"Name": "data", "ID": "1"})["Mountpoint"] == "/mnt/volumes/data"
    seen = root_dir / "managed" / plugin.id / "propagated-mount" / "data"
    assert os.path.ismount(seen)
    assert (seen / "made-by").read_text() == "ours"
    plugin.disable()
    assert not os.path.ismount(seen)
    plugin.remove()
    assert nothing_is_left(plugin, client, root_dir)


def test_a_log_plugin_reads_what_docker_would_send(new_plugin: NewPlugin, new_bundle: NewBundle) -> None:
    bundle = new_bundle("logdriver")
    inside = "/run/docker/logging/fifo"
    fifo = Path(f"{bundle}/rootfs{inside}")
    os.mkfifo(fifo)
    entries = b"".join(entry("stdout", f"line {number}", number) for number in range(300))
    with new_plugin(bundle) as plugin:
        info = {"Info": {"ContainerID": "c1"}}
        plugin.call("LogDriver.StartLogging", {"File": inside, **info})
        with fifo.open("wb") as pipe:
            pipe.write(entries)
        plugin.call("LogDriver.StopLogging", {"File": inside})
        lines = plugin.call("Test.Lines", {"ContainerID": "c1"})
        assert (len(lines), lines[-1]) == (300, "stdout: line 299")
        assert plugin.call("LogDriver.Capabilities") == {"Cap": {"ReadLogs": True}}
        assert plugin.call("LogDriver.ReadLogs", {"Config": {}, **info}) == entries


def entry(source: str, line: str, time: int) -> bytes:
    """Return an entry of docker's log protocol: its length, then protobuf."""
    message = b"\x0a%c%b\x10" % (len(source), source.encode()) + varint(time) + b"\x1a%c%b" % (len(line), line.encode())
    return struct.pack(">I", len(message)) + message


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def test_an_authorization_plugin_allows_and_denies(new_plugin: NewPlugin) -> None:
    with new_plugin("authz", settings=["DENIED=/v1.41/plugins"]) as plugin:
        assert plugin.implements == ["authz"]
        request = {"User": "somebody", "RequestMethod": "GET", "RequestUri": "/v1.41/containers/json"}
        assert plugin.call("AuthZPlugin.AuthZReq", request) == {"Allow": True}
        denied = plugin.call("AuthZPlugin.AuthZReq", {**request, "RequestUri": "/v1.41/plugins"})
        assert denied == {"Allow": False, "Msg": "/v1.41/plugins is not for somebody"}


FAILURES: tuple[tuple[str, object, type[Exception], str], ...] = (
    ("VolumeDriver.Create", {"Name": "x", "Opts": {"refuse": "yes"}}, Unknown, "refused, as was asked for"),
    ("VolumeDriver.Get", {"Name": "nobody"}, Unknown, "KeyError: 'nobody'"),
    ("VolumeDriver.Nonsense", None, NotFound, "no method VolumeDriver.Nonsense"),
    ("/../etc\n", None, InvalidArgument, "invalid method"),
    ("VolumeDriver.Get", {1, 2}, InvalidArgument, "cannot encode the body as json"),
)


def test_a_call_that_fails_says_what_the_plugin_said(new_plugin: NewPlugin) -> None:
    with new_plugin("volume") as plugin:
        for method, body, kind, says in FAILURES:
            with pytest.raises(kind, match=says) as raised:
                plugin.call(method, body)
            assert str(raised.value).startswith(f"call {plugin.id!r}: ")
        assert plugin.call("VolumeDriver.List") == {"Volumes": [], "Err": ""}


def test_a_plugin_that_is_not_enabled_is_not_called(new_plugin: NewPlugin) -> None:
    with pytest.raises(FailedPrecondition, match="it is not enabled"):
        new_plugin("volume").call("VolumeDriver.List")


def test_settings_are_changed_only_while_it_is_disabled_and_it_runs_with_them(
    new_plugin: NewPlugin, executor: Executor, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "here").touch()
    plugin = new_plugin("volume")
    plugin.enable()
    with pytest.raises(FailedPrecondition, match="it is enabled"):
        plugin.set("LABEL=late")
    plugin.disable()
    with pytest.raises(InvalidArgument, match="not in the plugin's configuration"):
        plugin.set("LABEL=one", "NOTHING=two")
    assert plugin.settings.env == ["LABEL=none"]
    plugin.set("LABEL=new", f"state.source={tmp_path / 'state'}", "args=--one --two", "disk=/dev/zero")
    plugin.enable()
    process = psutil.Process(executor.pid(plugin.id))
    assert process.environ()["LABEL"] == "new"
    assert process.cmdline()[-2:] == ["--one", "--two"]
    assert (Path(f"/proc/{process.pid}/root/srv") / "here").exists()
    assert Path(f"/proc/{process.pid}/root/dev/zero").is_char_device()


def test_a_plugin_that_ends_while_it_is_waited_for_is_reported_with_its_exit_code_and_last_output(
    new_plugin: NewPlugin, client: Client, root_dir: Path
) -> None:
    script = "import sys; print('this is why', flush=True); sys.exit('no such backend')"
    plugin = new_plugin("volume", script=script)
    with pytest.raises(FailedPrecondition) as raised:
        plugin.enable(timeout=LONGER_THAN_ANY_TEST)
    problem, _, output = str(raised.value).partition("; its last output: ")
    assert problem == f"enable {plugin.id!r}: it ended with exit code 1 before it was ready"
    # Two pipes: the order in which they were written to is unknown.
    assert output in ("this is why no such backend", "no such backend this is why")
    assert nothing_is_left(plugin, client, root_dir)


@pytest.mark.parametrize("is_json", [True, False])
def test_the_last_output_is_reported_also_if_it_goes_to_a_file(
    new_plugin: NewPlugin, tmp_path: Path, is_json: bool
) -> None:
    log = tmp_path / "log"
    sink: Any = JsonFile(log) if is_json else log
    plugin = new_plugin("volume", script="import sys; sys.exit('no such backend')", stdout=sink, stderr=sink)
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=r"its last output: no such backend$"):
            plugin.enable()
    assert log.read_text().count("no such backend") == 2


def test_a_plugin_that_implements_something_else_is_refused(
    new_plugin: NewPlugin, client: Client, root_dir: Path
) -> None:
    interface = {"types": ["docker.volumedriver/1.0", "docker.authz/1.0"], "socket": "volume.sock"}
    plugin = new_plugin("volume", config={"interface": interface})
    with pytest.raises(FailedPrecondition, match=r"docker\.authz/1\.0, but Plugin\.Activate answered VolumeDriver"):
        plugin.enable()
    assert nothing_is_left(plugin, client, root_dir)


OBEY = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); "
BIND = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/run/docker/plugins/volume.sock'); "


@pytest.mark.parametrize(("begin", "says"), [("", "no such file"), (BIND, "the file exists, but it does not listen")])
def test_a_plugin_that_does_not_listen_in_time_is_ended(
    new_plugin: NewPlugin, client: Client, root_dir: Path, begin: str, says: str
) -> None:
    plugin = new_plugin("volume", script=f"{OBEY}{begin}signal.pause()")
    with pytest.raises(DeadlineExceeded, match=f"'volume.sock' within 0.3 s: {says}"):
        plugin.enable(timeout=0.3)
    assert nothing_is_left(plugin, client, root_dir)


def test_a_plugin_that_goes_silent_after_it_listened_is_not_waited_for_for_ever(new_plugin: NewPlugin) -> None:
    plugin = new_plugin("volume", script=OBEY + BIND + "s.listen(); c = [s.accept() for _ in range(9)]")
    with pytest.raises(DeadlineExceeded, match=r"no answer to Plugin\.Activate"):
        plugin.enable(timeout=0.3)
    assert not plugin.enabled


def test_a_socket_that_an_earlier_run_has_left_is_not_used(
    new_plugin: NewPlugin, executor: Executor, root_dir: Path
) -> None:
    plugin = new_plugin("volume")
    plugin.enable()
    executor.signal(plugin.id, signal.SIGKILL)
    executor.wait(plugin.id, PATIENCE)
    assert plugin.socket.exists()
    assert not plugin.enabled
    status = plugin.disable()
    assert status
    assert status.exit_code == 137
    plugin.socket.parent.mkdir(parents=True)
    plugin.socket.touch()
    plugin.enable()
    assert plugin.call("VolumeDriver.List") == {"Volumes": [], "Err": ""}


def test_an_interrupt_while_it_is_waited_for_leaves_nothing(
    new_plugin: NewPlugin, client: Client, root_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path, **others: Any) -> None:
        wait_for_socket(path, **others)
        raise KeyboardInterrupt

    monkeypatch.setattr(activation, "wait_for_socket", interrupt)
    plugin = new_plugin("volume")
    with pytest.raises(KeyboardInterrupt), plugin:
        pass
    assert nothing_is_left(plugin, client, root_dir)


def test_a_mount_that_was_not_set_is_named_before_anything_is_started(
    new_plugin: NewPlugin, client: Client, root_dir: Path
) -> None:
    mount = {"name": "state", "settable": ["source"], "destination": "/srv", "type": "bind", "options": ["rbind"]}
    plugin = new_plugin("volume", config={"mounts": [mount]})
    with pytest.raises(InvalidArgument, match="mount 'state' has no source") as raised:
        plugin.enable()
    assert raised.value.hint == "set state.source to an absolute path of the host"
    assert nothing_is_left(plugin, client, root_dir)


def test_it_is_enabled_by_one_of_many_who_try_at_once(new_plugin: NewPlugin) -> None:
    plugin = new_plugin("volume")
    failed: list[FailedPrecondition] = []

    def enable() -> None:
        try:
            plugin.enable()
        except FailedPrecondition as error:
            failed.append(error)

    threads = [threading.Thread(target=enable) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 3
    with pytest.raises(FailedPrecondition, match="it is enabled"):
        plugin.enable()
    assert plugin.call("VolumeDriver.List")["Err"] == ""


def test_a_writer_serves_each_run_and_is_not_closed(new_plugin: NewPlugin) -> None:
    writer = Buffer()
    plugin = new_plugin("volume", stdout=writer)
    for runs in (1, 2):
        plugin.enable()
        plugin.disable()
        assert writer.data == b"VolumeDriver listens\n" * runs
    assert writer.closings == 0


def test_a_plugin_runs_as_the_user_of_its_configuration(new_plugin: NewPlugin, executor: Executor) -> None:
    with new_plugin("authz") as plugin:
        process = psutil.Process(executor.pid(plugin.id))
        assert (process.uids().real, process.gids().real) == (1234, 4321)


def test_a_bundle_is_found_from_where_it_was_named(
    new_plugin: NewPlugin, new_bundle: NewBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = new_bundle("authz")
    monkeypatch.chdir(bundle.parent)
    plugin = new_plugin(Path(bundle.name))
    monkeypatch.chdir("/")
    plugin.enable()
    assert plugin.enabled


def test_a_tar_is_unpacked_for_as_long_as_the_plugin_is_there(
    new_plugin: NewPlugin, new_bundle: NewBundle, client: Client, root_dir: Path, tmp_path: Path
) -> None:
    bundle = new_bundle("authz")
    with tarfile.open(tmp_path / "plugin.tar.gz", "w:gz") as tar:
        for name in ("config.json", "rootfs"):
            tar.add(bundle / name, name)
    with new_plugin(tmp_path / "plugin.tar.gz") as plugin:
        assert (root_dir / "managed" / plugin.id / "bundle" / "rootfs" / "plugin" / "authz.py").exists()
        assert plugin.call("AuthZPlugin.AuthZRes") == {"Allow": True}
    assert nothing_is_left(plugin, client, root_dir)


def test_a_bundle_with_a_wrong_configuration_leaves_nothing(
    new_plugin: NewPlugin, root_dir: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "plugin.tar", "w") as tar:
        info = tarfile.TarInfo("config.json")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    with pytest.raises(InvalidArgument, match="entrypoint is empty"):
        new_plugin(tmp_path / "plugin.tar")
    assert not list((root_dir / "managed").glob("*"))


def test_one_that_an_earlier_process_has_left_is_not_started_twice_and_can_be_disabled(
    new_executor: Callable[..., Executor], new_bundle: NewBundle, id: str, client: Client, root_dir: Path
) -> None:
    bundle = new_bundle("volume")
    first = new_executor()
    before = ManagedPlugin(first, bundle, id=id)
    before.enable()
    pid = first.pid(id)
    first.close()
    after = ManagedPlugin(new_executor(), bundle, id=id)
    with pytest.raises(AlreadyExists, match="it is already running, started by an earlier process"):
        after.enable()
    assert psutil.Process(pid).is_running()
    assert before.socket.exists()
    status = after.disable()
    assert status
    assert status.exit_code == 0
    assert nothing_is_left(after, client, root_dir)
    wait_until(lambda: not psutil.pid_exists(pid), "its end")


def test_a_plugin_of_the_executor_with_this_id_is_left_alone(
    new_plugin: NewPlugin, executor: Executor, shell: Callable[..., dict[str, Any]], id: str
) -> None:
    executor.create(id, shell(id, "exec sleep 1000"), None, None)
    with pytest.raises(AlreadyExists):
        new_plugin("volume", id=id).enable()
    assert executor.is_running(id)
    executor.stop(id, 0)
