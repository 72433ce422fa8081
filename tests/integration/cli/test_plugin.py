"""``pluginexec plugin``: managed plugins by docker's commands.

Real: the console script, containerd, the plugins (the tests' own, on the host's Python), their sockets and logs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec.host.records import Records, is_alive
from pluginexec.linux.mounts import mount_points_below, unmount_below
from tests.integration.cli.conftest import Done, Px, Spawn, finish
from tests.support.harness import wait_until
from tests.support.layouts import one_directory
from tests.support.managed_plugins.bundles import make_bundle
from tests.support.probe import SCRIPT

Create = Callable[..., str]


@pytest.fixture
def create(px: Px, root_dir: Path, tmp_path: Path, new_id: Callable[[], str]) -> Iterator[Create]:
    """Create a plugin of the tests with the command, with changes of its configuration; return its name."""

    def make(plugin: str = "volume", *options: str, script: str = "", **changes: Any) -> str:
        if script:
            changes["entrypoint"] = [os.path.realpath(sys.executable), "-I", "-S", "-c", script]
        name = new_id()
        done = px("plugin", "create", *options, name, make_bundle(tmp_path / f"{name}-bundle", plugin, **changes))
        assert (done.code, done.lines) == (0, [name])
        head, *privileges = done.err.decode().splitlines()
        assert head == f"Plugin '{name}' is requesting the following privileges:"
        assert all(line.startswith(" - ") for line in privileges)
        return name

    yield make
    unmount_below(root_dir)


def is_ours(process: psutil.Process, root: Path) -> bool:
    """Return whether a process is a command on a root, or was started by one."""
    words = process.info["cmdline"] or []
    return (str(SCRIPT) in words or words[:1] == ["ctr"]) and str(root) in " ".join(words)


def refused(done: Done) -> str:
    """Return the one line that a command has printed that was refused."""
    assert (done.code, done.out) == (125, b"")
    (line,) = done.err.decode().splitlines()
    return line


def test_a_whole_life_by_dockers_commands(px: Px, start: Spawn, create: Create, root_dir: Path) -> None:
    name = create()
    assert px("plugin", "ls").lines[0].split() == ["NAME", "DESCRIPTION", "ENABLED", "STATUS"]
    row = ("plugin", "ls", "--format", "{{.Name}} {{.Enabled}} {{.State}}")
    assert px("plugin", "enable", name).lines == [name]
    assert px(*row).lines == [f"{name} true running"]
    assert px("plugin", "call", name, "VolumeDriver.Create", '{"Name": "data"}').lines == ['{"Err":""}']
    process = start("plugin", "call", name, "VolumeDriver.Mount", "-", stdin=subprocess.PIPE)
    out, err = process.communicate(b'{"Name": "data"}')
    assert (process.returncode, out, err) == (0, b'{"Mountpoint":"/mnt/volumes/data","Err":""}\n', b"")
    details = json.loads(px("plugin", "inspect", name).out)
    assert (Path(details["propagated_mount"]) / "data" / "made-by").exists()
    assert Path(details["socket"]).is_socket()
    assert not [process for process in psutil.process_iter(["cmdline"]) if is_ours(process, root_dir)]
    assert px("ps", "--filter", "label=pluginexec.managed", "--format", "{{.ID}}").lines == [name]
    assert px("exec", name, os.path.realpath(sys.executable), "-c", "print(6 * 7)").out == b"42\n"
    assert px("plugin", "disable", name).lines == [name]
    assert px(*row).lines == [f"{name} false exited"]
    assert json.loads(px("plugin", "inspect", name).out)["socket"] is None
    done = px("plugin", "logs", "-n", "2", name)
    assert (done.code, done.out, done.err) == (0, b"", b"VolumeDriver.Create\nVolumeDriver.Mount\n")
    assert px("plugin", "rm", name).lines == [name]
    assert px("plugin", "ls", "-q").lines == px("ps", "-a", "--format", "{{.ID}}").lines == []
    assert not mount_points_below(root_dir)


def test_what_is_not_allowed_now_is_one_line_that_says_what_to_do(px: Px, create: Create) -> None:
    name = create()
    assert refused(px("plugin", "disable", name)) == f"pluginexec: disable '{name}': plugin is already disabled"
    assert px("plugin", "enable", name).code == 0
    said = "plugin is enabled; hint: disable it first, or use 'plugin rm -f'"
    assert refused(px("plugin", "rm", name)) == f"pluginexec: remove '{name}': {said}"
    done = px("plugin", "rm", "--force", name, name, "nobody")
    assert (done.code, done.lines) == (125, [name])
    assert b"no such managed plugin: 'nobody'" in done.err


def test_the_commands_for_all_plugins_leave_a_managed_one_whole(px: Px, create: Create) -> None:
    name = create()
    assert px("plugin", "enable", name).code == 0
    for command, instead in (("rm", "rm"), ("start", "enable")):
        said = f"it is a managed plugin; hint: 'pluginexec plugin {instead} {name}'"
        assert said in refused(px(command, *(["-f"] if command == "rm" else []), name))
    assert px("stop", name).lines == [name]
    assert px("plugin", "ls", "--format", "{{.Enabled}} {{.Status}}").out.startswith(b"false Exited (0)")
    assert px("plugin", "rm", name).lines == [name]


def test_a_bundle_or_a_name_that_is_wrong_is_one_line_that_names_all_of_it(px: Px, tmp_path: Path, id: str) -> None:
    assert "no such file or directory" in refused(px("plugin", "create", id, tmp_path / "none"))
    bundle = make_bundle(tmp_path / "bundle", "volume", entrypoint=[], workdir="here", interface={"types": ["x"]})
    said = refused(px("plugin", "create", id, bundle))
    for field in ("entrypoint", "workdir", "interface.types[0]", "interface.socket"):
        assert f"{field} is" in said
    said = refused(px("plugin", "create", "vieux/sshfs:latest", bundle))
    assert said.startswith("pluginexec: name 'vieux/sshfs:latest' contains '/' or ':', which an id cannot")
    assert said.endswith("; hint: use 'vieux-sshfs'")
    good = make_bundle(tmp_path / "good", "volume")
    assert "restart policy 'often' is not known" in refused(px("plugin", "create", "--restart", "often", id, good))
    assert px("plugin", "ls", "-q").lines == []


def test_a_tar_is_taken_and_a_field_that_is_not_known_is_said_once(px: Px, tmp_path: Path, id: str) -> None:
    bundle = make_bundle(tmp_path / "bundle", "authz", entripoint=["x"])
    subprocess.run(["tar", "-czf", tmp_path / "bundle.tar", "-C", bundle, "config.json", "rootfs"], check=True)
    done = px("plugin", "create", id, tmp_path / "bundle.tar")
    assert (done.code, done.lines) == (0, [id])
    (warning,) = (line for line in done.err.decode().splitlines() if line.startswith("pluginexec: "))
    assert "ignoring unknown field 'entripoint'" in warning
    done = px("plugin", "inspect", "--format", "{{json .Config.Interface}}", id)
    assert (done.lines, done.err) == (['{"types":["docker.authz/1.0"],"socket":"authz.sock"}'], b"")
    assert px("plugin", "rm", id).code == 0


def test_create_lists_the_privileges_that_a_bundle_asks_for(px: Px, tmp_path: Path, id: str) -> None:
    asked = {"capabilities": ["CAP_SYS_ADMIN", "CAP_BPF"], "devices": [{"path": "/dev/null"}], "allowAllDevices": True}
    mounts = [{"source": "/a\x1b[2J", "destination": "/x", "type": "bind"}]
    bundle = make_bundle(
        tmp_path / "b", "volume", network={"type": "host"}, pidhost=True, ipchost=True, mounts=mounts, linux=asked
    )
    done = px("plugin", "create", id, bundle)
    assert (done.code, done.lines) == (0, [id])
    assert done.err.decode().splitlines() == [
        f"Plugin '{id}' is requesting the following privileges:",
        " - network: [host]",
        " - host ipc namespace: [true]",
        " - host pid namespace: [true]",
        " - mount: [/a\\x1b[2J]",
        " - device: [/dev/null]",
        " - allow-all-devices: [true]",
        " - capabilities: [CAP_SYS_ADMIN CAP_BPF]",
    ]
    bundle = make_bundle(tmp_path / "c", "volume", mounts=[], linux={}, network={})
    assert px("plugin", "create", f"{id}-2", bundle).err == b""


def test_ls_lists_what_is_asked_for(px: Px, create: Create) -> None:
    volume, authz = create("volume"), create("authz", description="d" * 30)
    assert px("plugin", "enable", volume).code == 0
    assert px("plugin", "ls", "-q", "-f", "enabled=true", "--filter", "capability=volumedriver").lines == [volume]
    assert "ddd…" in px("plugin", "ls").out.decode()
    assert "d" * 30 in px("plugin", "ls", "--no-trunc").out.decode()
    (details, _) = map(json.loads, px("plugin", "ls", "--format", "json").lines)
    assert (details["types"], details["implements"]) == (["docker.volumedriver/1.0"], ["VolumeDriver"])
    assert details["status"].startswith("Up ")
    assert "unknown field: .X" in refused(px("plugin", "ls", "--format", "{{.X}}"))
    assert px("plugin", "rm", "-f", volume, authz).lines == [volume, authz]


def test_one_with_broken_files_does_not_hide_the_others_and_can_be_removed(
    px: Px, create: Create, root_dir: Path
) -> None:
    broken, good = create(), create()
    (root_dir / "managed" / broken / "managed.json").write_text("{")
    done = px("plugin", "ls", "-q")
    assert (done.code, done.lines) == (125, [good])
    assert b"is not json" in done.err
    assert px("plugin", "rm", broken, good).lines == [broken, good]


INSPECTED = (
    *("id", "name", "description", "enabled", "created_at", "state", "pid", "started_at", "finished_at"),
    *(
        "finished_at_is_upper_bound",
        "exit_code",
        "oom_killed",
        "error",
        "restart_count",
        "types",
        "implements",
        "restart",
        "socket",
        "settings",
        "config",
        "rootfs",
    ),
    *("propagated_mount", "log_driver", "log_opts", "log_path", "address", "namespace"),
)


def test_inspect_tells_all_with_stable_keys_and_set_changes_it(px: Px, create: Create) -> None:
    name = create("volume", "--restart", "always", "--log-opt", "max-size=1m")
    done = px("plugin", "set", name, "LABEL=mine", "state.source=/srv", "args=-v -x", "disk=/dev/null")
    assert (done.code, done.out, done.err) == (0, b"", b"")
    details = json.loads(px("plugin", "inspect", name).out)
    assert tuple(details) == INSPECTED
    assert details["settings"] == {
        "env": ["LABEL=mine"],
        "args": ["-v", "-x"],
        "mounts": {"state": "/srv"},
        "devices": {"disk": "/dev/null"},
    }
    assert (details["restart"], details["log_opts"], details["enabled"]) == ("always", {"max-size": "1m"}, False)
    assert details["config"]["linux"]["capabilities"] == ["CAP_SYS_ADMIN"]
    said = refused(px("plugin", "set", name, "LABEL=other", "NOTHING=1"))
    assert said.startswith(
        f"pluginexec: set '{name}': setting 'NOTHING' is not in the plugin's configuration; hint: it can"
    )
    assert px("plugin", "inspect", "--format", "{{json .Settings.Env}}", name).lines == ['["LABEL=mine"]']
    assert px("plugin", "rm", name).code == 0


def test_what_cannot_be_called_is_one_line_and_125(px: Px, create: Create) -> None:
    name = create()
    assert px("plugin", "enable", name).code == 0
    for arguments, said in {
        (
            "VolumeDriver.Create",
            '{"Name": "a", "Opts": {"refuse": "1"}}',
        ): "VolumeDriver.Create failed: refused, as was",
        ("VolumeDriver.Get", '{"Name": "a"}'): "VolumeDriver.Get failed: KeyError: 'a'",
        ("No.Such",): "No.Such failed: no method No.Such",
        ("no such",): "invalid method 'no such'",
        ("VolumeDriver.List", "{"): "the body is not json: Expecting property name",
    }.items():
        assert said in refused(px("plugin", "call", name, *arguments))
    assert px("plugin", "rm", "-f", name).code == 0


def test_one_that_ends_before_it_is_ready_is_one_line_and_its_log_can_be_read(px: Px, create: Create) -> None:
    name = create(script="import sys; print('no way'); sys.exit(3)")
    said = "it ended with exit code 3 before it was ready; its last output: no way"
    hint = f"; hint: 'pluginexec plugin logs {name}' shows all that it printed"
    assert refused(px("plugin", "enable", name)) == f"pluginexec: enable '{name}': {said}{hint}"
    assert px("plugin", "logs", name).out == b"no way\n"
    assert px("plugin", "rm", name).code == 0


SLOW = """
import os, signal, socket, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server = socket.socket(socket.AF_UNIX)
server.bind("/run/docker/plugins/volume.sock")
server.listen(8)
while True:
    connection, _ = server.accept()
    with connection:
        if connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nA: ")
            while True:
                connection.sendall(b"b")
                time.sleep(0.2)
"""
LINK = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.symlink("../../../../../service.sock", "/run/docker/plugins/volume.sock")
time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("script", "said"),
    [(SLOW, "no answer "), (LINK, "its socket 'volume.sock' is a symbolic link")],
    ids=["a byte now and then", "a link"],
)
def test_a_plugin_whose_socket_is_a_trap_is_refused_in_time_and_ended(
    px: Px, create: Create, root_dir: Path, script: str, said: str
) -> None:
    name = create(script=script)
    assert said in refused(px("plugin", "enable", "--timeout", "2", name))
    assert not is_alive(Records(one_directory(root_dir)).state(name))
    assert px("plugin", "rm", name).code == 0


def test_ctrl_c_while_it_is_being_enabled_takes_all_back(px: Px, start: Spawn, create: Create, root_dir: Path) -> None:
    name = create(script="import signal, sys; signal.signal(15, lambda *_: sys.exit()); print(1, flush=True);"
                         "signal.pause()")  # fmt: skip
    process = start("plugin", "enable", name)
    wait_until(lambda: px("plugin", "logs", name).out == b"1\n", "its start")
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert (done.code, done.out, done.err) == (130, b"", b"")
    assert not is_alive(Records(one_directory(root_dir)).state(name))
    assert not mount_points_below(root_dir)
    assert px("plugin", "rm", name).code == 0


def test_following_the_log_ends_when_it_is_disabled(px: Px, start: Spawn, create: Create) -> None:
    name = create()
    done = px("plugin", "logs", name)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    assert px("plugin", "enable", name).code == 0
    process = start("plugin", "logs", "-f", "-t", "--stdout", name)
    assert process.stdout
    assert re.fullmatch(rb"\S+Z VolumeDriver listens\n", process.stdout.readline())
    assert px("plugin", "disable", "-f", "-t", "5", name).code == 0
    done = finish(process)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    assert px("plugin", "logs", "--since", "0s", name).out == b""
    assert px("plugin", "rm", name).code == 0
