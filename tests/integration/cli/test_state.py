"""The root, which survives a reboot, and the state directory, which need not.

Real: containerd, plugins, commands, a tmpfs for the state directory. A reboot is played: everything that runs is
SIGKILLed, the tmpfs is emptied, and the records say another boot, as they would afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd
from pluginexec.daemon.cleanup import kill_processes
from pluginexec.daemon.private import private_address, private_containerd, private_files
from pluginexec.host.records import Records, is_alive
from pluginexec.linux.cgroups import remove_cgroups
from pluginexec.root.layout import Layout, default_state
from tests.integration.cli.conftest import Done, Spawn, finish
from tests.support.embedded import NOBODY
from tests.support.harness import wait_until

OTHER_BOOT = "00000000-0000-4000-8000-000000000000"


def mount(directory: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "pluginexec-test", directory], check=True)


class Machine:
    """A root on a disk, its state directory on a tmpfs, and the commands on both."""

    def __init__(self, directory: Path, spawn: Spawn) -> None:
        self.layout = Layout(directory / "root", directory / "state")
        self.records = Records(self.layout)
        self._spawn = spawn
        self.layout.state.mkdir(mode=0o700)
        mount(self.layout.state)

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """Start a command on the private containerd."""
        address = private_address(self.layout)  # which no containerd of this machine takes over
        where = ("--root", self.layout.root, "--state", self.layout.state, "--address", address)
        return self._spawn(*where, *arguments)

    def px(self, *arguments: object) -> Done:
        """Run a command to its end."""
        return finish(self.start(*arguments))

    def run(self, rootfs: Path, *options: object) -> str:
        """Run a plugin in the background; return its id."""
        done = self.px("run", "-d", *options, "--rootfs", rootfs, "--", "sleep", "1000")
        assert done.code == 0, done.err
        return done.lines[0]

    def reboot(self) -> None:
        """Cut the power, and come back."""
        self._kill()
        subprocess.run(["umount", self.layout.state], check=True)
        mount(self.layout.state)
        for id in self.records.ids():
            path = self.records.directory(id) / "state.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": OTHER_BOOT}))

    def _kill(self) -> None:
        for pid in private_files(self.layout).processes():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not list(private_files(self.layout).processes()), "the end of containerd")
        kill_processes(private_files(self.layout))
        for id in self.records.ids():
            remove_cgroups(f"/pluginexec/{id}")

    def remove(self) -> None:
        """End all that runs."""
        if self.layout.containerd_state.exists():
            with private_containerd(self.layout, leave_tasks=False):
                pass
        subprocess.run(["umount", self.layout.state], check=True)


@pytest.fixture
def machine(spawn: Spawn, no_leaks: None) -> Iterator[Machine]:
    directory = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))
    try:
        machine = Machine(directory, spawn)
        yield machine
        machine.remove()
    finally:
        shutil.rmtree(directory)


def test_a_plugin_that_ran_before_a_reboot_has_exited_and_that_is_said_as_it_is_known(
    machine: Machine, rootfs: Path
) -> None:
    id = machine.run(rootfs, "--label", "a=b")
    assert {path.name for path in machine.layout.root.iterdir()} == {"plugins", "containerd", "seccomp"}
    assert {path.name for path in machine.layout.containerd.iterdir()} == {"containerd.log", "root"}
    assert machine.layout.containers.joinpath(id).is_dir()
    started = machine.records.state(id).started_at
    assert started
    machine.reboot()
    for command in ("start containerd", "and ask it"):
        state = json.loads(machine.px("inspect", id).out)
        assert (state["state"], state["exit_code"], state["finished_at_is_upper_bound"]) == ("exited", None, True)
        assert started <= datetime.fromisoformat(state["finished_at"]) <= datetime.now(timezone.utc)
        assert machine.px("restore", id).lines == [f"{id} exited"], command
    assert (machine.records.state(id).status, machine.records.state(id).finished_at_is_upper_bound) == ("exited", True)
    assert machine.px("start", id).code == 0
    assert is_alive(machine.records.state(id))


def test_a_pid_that_came_again_after_a_reboot_is_not_taken_for_the_plugins(machine: Machine, rootfs: Path) -> None:
    id = machine.run(rootfs)
    state = machine.records.state(id)
    assert is_alive(state)
    path = machine.records.directory(id) / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": OTHER_BOOT}))
    assert not is_alive(machine.records.state(id))  # though its pid, and when that started, are those of a process
    assert machine.px("kill", id).code == 125
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": state.boot_id}))
    assert machine.px("rm", "-f", id).code == 0


def test_after_a_reboot_serve_starts_what_its_policy_says(machine: Machine, rootfs: Path) -> None:
    kept, done, stopped = (machine.run(rootfs, "--restart", policy) for policy in ("always", "no", "unless-stopped"))
    assert machine.px("stop", "-t", 0, stopped).code == 0
    machine.reboot()
    serve = machine.start("serve", "--live-restore")
    wait_until(lambda: is_alive(machine.records.state(kept)), "the start of what always runs")
    wait_until(lambda: machine.records.state(done).status == "exited", "the end of the other")
    assert not is_alive(machine.records.state(stopped))
    serve.send_signal(signal.SIGTERM)
    assert finish(serve).code == 0


def test_a_restart_policy_on_a_root_that_a_reboot_empties_is_warned_of_once(
    machine: Machine, rootfs: Path, spawn: Spawn, containerd: Containerd
) -> None:
    root = machine.layout.state / "root"
    where = ("--root", root, "--state", root, "--address", containerd.address)
    done = finish(spawn(*where, "create", "--restart", "always", "--rootfs", rootfs, "true"))
    assert done.code == 0
    assert done.err.decode().count("will not be started after a reboot") == 1
    assert f"the root {root} is on a tmpfs" in done.err.decode()
    assert finish(spawn(*where, "create", "--rootfs", rootfs, "true")).err == b""
    kept = ("--root", machine.layout.root, "--state", machine.layout.state, "--address", containerd.address)
    assert finish(spawn(*kept, "create", "--restart", "always", "--rootfs", rootfs, "true")).err == b""


# Who makes them, and for whom

FIRST = {
    "ps": ("ps", "-a"),
    "info": ("info",),
    "create": ("create", "--rootfs", "ROOTFS", "true"),
    "run": ("run", "--rootfs", "ROOTFS", "true"),
    "run -d": ("run", "-d", "--rootfs", "ROOTFS", "true"),
    "plugin ls": ("plugin", "ls"),
    "daemon status": ("daemon", "status"),
    "doctor": ("doctor",),
}


@pytest.mark.parametrize(
    ("first", "mask"), [*((first, 0) for first in FIRST), ("create", 0o022), ("run -d", 0o022), ("run -d", 0o077)]
)
def test_whichever_command_comes_first_both_directories_are_private(
    first: str, mask: int, tmp_path: Path, rootfs: Path, spawn: Spawn, containerd: Containerd
) -> None:
    arguments = [rootfs if word == "ROOTFS" else word for word in FIRST[first]]
    root, state = tmp_path / "r" / "root", tmp_path / "s" / "state"
    where = ("--root", root, "--state", state, "--address", containerd.address)
    done = finish(spawn(*where, *arguments, preexec_fn=lambda: os.umask(mask)))
    assert done.code in (0, 3), done.err
    if first.startswith(("run", "create")):
        assert root.exists()
    for path in (root, state):
        if path.exists():
            assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o700, 0o755]
    for path in (*root.rglob("*"), *state.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            assert not path.stat().st_mode & 0o022, path
    finish(spawn(*where, "rm", "-f", *[path.name for path in (root / "plugins").glob("*")], "none"))


def test_two_roots_do_not_share_a_state_directory(tmp_path: Path, rootfs: Path, spawn: Spawn) -> None:
    first = ("--root", tmp_path / "a", "--state", tmp_path / "state", "--address", NOBODY)
    Layout(tmp_path / "a", tmp_path / "state").make()
    assert finish(spawn(*first, "ps")).code == 0
    second = ("--root", tmp_path / "b", *first[2:])
    for command in (("ps",), ("info",), ("run", "--rootfs", rootfs, "true"), ("daemon", "stop", "--all"), ("serve",)):
        done = finish(spawn(*second, *command))
        assert (done.code, len(done.err.splitlines())) == (125, 1)
        assert f"belongs to another root, '{tmp_path}/a'".encode() in done.err
    assert not (tmp_path / "b").exists()


def test_info_names_both_directories(tmp_path: Path, spawn: Spawn) -> None:
    state = default_state(tmp_path / "root")
    fields = json.loads(finish(spawn("--root", tmp_path / "root", "--state", state, "info", "--format", "json")).out)
    assert (fields["root"], fields["state"]) == (str(tmp_path / "root"), str(state))
    assert not state.exists()


# The state directory of a root that chose none


@pytest.fixture
def root(spawn: Spawn) -> Iterator[Path]:
    """A root without a state directory of its choice; nothing may be left of that."""
    directory = Path(tempfile.mkdtemp(prefix="px-", dir="/tmp"))
    try:
        yield directory / "root"
        state = default_state(directory / "root")
        left = [str(path) for path in state.rglob("*")]
        layout = Layout.of(directory / "root")
        if layout.containerd_state.exists():
            with private_containerd(layout, leave_tasks=False):
                pass
        shutil.rmtree(state, ignore_errors=True)
        assert not left
    finally:
        shutil.rmtree(directory)


def own(root: Path, address: str, *arguments: object) -> tuple[Any, ...]:
    """Return the arguments of a command on a root and its default state directory."""
    return ("--root", root, "--state", default_state(root), "--address", address, *arguments)


def test_the_last_plugin_takes_the_state_directory_with_it(
    root: Path, rootfs: Path, spawn: Spawn, containerd: Containerd, new_id: Callable[[], str]
) -> None:
    state = default_state(root)
    first, second = new_id(), new_id()
    for id in (first, second):
        command = ("run", "-d", "--name", id, "--rootfs", rootfs, "--", "sleep", "1000")
        assert finish(spawn(*own(root, containerd.address, *command))).code == 0
    assert state.is_dir()
    assert finish(spawn(*own(root, containerd.address, "rm", "-f", first))).code == 0
    assert (state / "containers" / second).is_dir()
    assert finish(spawn(*own(root, containerd.address, "rm", "-f", second))).code == 0
    assert not state.exists()
    assert finish(spawn(*own(root, containerd.address, "run", "--rm", "--rootfs", rootfs, "true"))).code == 0
    assert not state.exists()


def test_a_private_containerd_keeps_it_until_it_is_stopped_with_all(root: Path, rootfs: Path, spawn: Spawn) -> None:
    state, address = default_state(root), private_address(Layout.of(root))
    assert finish(spawn(*own(root, address, "run", "--rm", "--rootfs", rootfs, "true"))).code == 0
    assert (state / "containerd" / "containerd.sock").is_socket()
    assert finish(spawn(*own(root, address, "ps"))).code == 0
    assert (state / "containerd" / "containerd.sock").is_socket()
    assert finish(spawn(*own(root, address, "daemon", "stop", "--all"))).code == 0
    assert not state.exists()
    assert (root / "containerd" / "root").is_dir()


def test_while_serve_runs_it_stays(root: Path, spawn: Spawn, containerd: Containerd) -> None:
    state = default_state(root)
    serve = spawn(*own(root, containerd.address, "serve"))
    wait_until(lambda: (state / "serve.sock").is_socket(), "serve")
    assert finish(spawn(*own(root, containerd.address, "ps"))).code == 0
    assert (state / "serve.sock").is_socket()
    serve.send_signal(signal.SIGTERM)
    assert finish(serve).code == 0
    assert not state.exists()
