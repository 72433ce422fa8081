"""``Containerd``: a private containerd, started, watched, restarted and stopped.

Real here: containerd, its shims, runc, busybox in the containers, processes, signals, mounts, cgroups, sockets.
Not real: a containerd that fails to start or never answers is a shell script, as is one that starts only once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from pluginexec.containerd.client import Client
from pluginexec.daemon import supervisor
from pluginexec.daemon.containerd import Containerd
from pluginexec.daemon.files import LONGEST_ADDRESS
from pluginexec.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, PluginExecError, Unavailable
from pluginexec.oci.default_spec import default_spec
from pluginexec.testing.rootfs import make_rootfs
from pluginexec.types import TaskState
from tests.support.harness import PATIENCE, suspend, wait_until

NAMESPACE = "pluginexec.test"
HOSTILE = ['it\'s "one" \\ two & é日😀 \\040', "100% %2f", "what?#3", "new\nline \x7f"]


# Helpers


def processes_of(directory: Path, *addresses: str) -> list[psutil.Process]:
    """Every process whose command line names something in a directory, or an address: containerd, shims, fakes."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if any(part.startswith(f"{directory}{os.sep}") or part in addresses for part in line):
                found.append(process)
    return found


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def mounts_below(directory: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {directory}/" in line]


def cgroups_of(id: str) -> list[str]:
    """The cgroup directories of a plugin, in all hierarchies."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return [str(root / "pluginexec" / id) for root in roots if (root / "pluginexec" / id).is_dir()]


class Plugin:
    """A container that sleeps, by way of a ``Client``."""

    def __init__(
        self,
        containerd: Containerd,
        directory: Path,
        name: str = "a",
        *,
        args: Sequence[str] = ("/bin/sleep", "600"),
        io: Sequence[str] = ("--null-io",),
    ) -> None:
        self.id = f"dmn-{os.getpid()}-{name}"
        self.runc_root = directory / "runc"
        (directory / "config.json").write_text(json.dumps(default_spec(directory / "rootfs", args, id=self.id)))
        pid_file = directory / f"{self.id}.pid"
        self.client(containerd).run(
            self.id,
            config=directory / "config.json",
            runc_root=self.runc_root,
            pid_file=pid_file,
            io=io,
        )
        self.pid = int(pid_file.read_text())

    @staticmethod
    def client(containerd: Containerd) -> Client:
        return containerd.remote.new_client(NAMESPACE)

    def is_running(self, containerd: Containerd) -> bool:
        task = self.client(containerd).tasks().get(self.id)
        return bool(task and task.state is TaskState.RUNNING and task.pid == self.pid and alive(self.pid))

    def assert_gone(self, containerd: Containerd) -> None:
        assert not alive(self.pid)
        assert not cgroups_of(self.id)
        assert not (self.runc_root / NAMESPACE / self.id).exists()
        assert not [p.cmdline() for p in processes_of(self.runc_root, containerd.address)]


def shim_of(plugin: Plugin, home: Path) -> psutil.Process:
    (shim,) = [process for process in processes_of(home) if plugin.id in process.cmdline()]
    return shim


def copier_below(shim: psutil.Process) -> psutil.Process | None:
    """The ``cat`` of a logger."""
    for process in shim.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == "cat":
                return process
    return None


def bytes_in(fifo: Path) -> int:
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        return int(struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, bytes(4)))[0])


@pytest.fixture
def box() -> Iterator[Path]:
    """A directory with a short path, holding a root file system and room for containerd's; all ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="dmn", dir="/tmp") as name:
        box = Path(name)
        make_rootfs(box / "rootfs")
        yield box
        # Only a test that failed has anything left here.
        for process in processes_of(box):
            for each in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    each.kill()
            process.wait(PATIENCE)
        mounts = [partition.mountpoint for partition in psutil.disk_partitions(all=True)]
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{box}/")), reverse=True):
            subprocess.run(["umount", mount], check=False)
        for state in (box / "runc").glob("*/*"):
            subprocess.run(["runc", "--root", state.parent, "delete", "--force", state.name], check=False)


@pytest.fixture
def home(box: Path) -> Path:
    """Where containerd's files go."""
    return box / "d"


def fake(box: Path, script: str) -> str:
    """A containerd that is a shell script."""
    path = box / "containerd-fake"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def answers(containerd: Containerd) -> bool:
    try:
        return bool(Plugin.client(containerd).server_version())
    except PluginExecError:
        return False


def kill(containerd: Containerd, number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to containerd; return its pid."""
    pid = containerd.pid
    assert pid is not None
    os.kill(pid, number)
    return pid


def until_restarted(containerd: Containerd, old: int) -> None:
    wait_until(lambda: containerd.pid not in (None, old) and answers(containerd), "containerd is back")


def supervise_in_another_process(
    home: Path, binary: str = "containerd", prefix: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """A Python process that starts a ``Containerd``, prints its pid, and then waits."""
    code = """
        import signal, sys, time
        from pluginexec.daemon.containerd import Containerd
        # Whoever runs the tests in the background may have SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        containerd = Containerd(sys.argv[1], binary=sys.argv[2])
        containerd.start()
        print(containerd.pid, flush=True)
        time.sleep(600)
    """
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", textwrap.dedent(code), home, binary],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@contextlib.contextmanager
def killed_supervisor(home: Path) -> Iterator[int]:
    """The pid of a containerd whose supervisor was SIGKILLed."""
    with supervise_in_another_process(home) as process:
        try:
            assert process.stdout
            pid = int(process.stdout.readline())
        finally:
            process.kill()
    assert alive(pid)
    yield pid


# Starting


def test_it_starts_and_answers_and_its_files_are_where_they_should_be(home: Path) -> None:
    with Containerd(home) as containerd:
        assert answers(containerd)
        assert containerd.address == containerd.remote.address == str(home / "containerd.sock")
        assert (home / "containerd.pid").read_text() == f"{containerd.pid}\n"
        assert home.stat().st_mode & 0o777 == 0o700
        assert (home / "root").is_dir()
        assert (home / "state").is_dir()
        assert b"starting containerd" in containerd.log_path.read_bytes()
    assert containerd.pid is None
    assert {path.name for path in home.iterdir()} == {"config.toml", "containerd.log", "lock", "root", "state"}


# As a person might start the first command; what the next ones and all plugins get must not depend on it.
RESTRICTED = """
ulimit -Sn 300
ulimit -Sc 4096
umask 077
trap '' USR1
echo 500 >/proc/self/oom_score_adj
exec nice -n 10 taskset 1 ionice -c 3 "$@"
"""


def test_it_inherits_nothing_of_the_command_that_starts_it_and_no_plugin_does(box: Path, home: Path) -> None:
    with supervise_in_another_process(home, prefix=("sh", "-c", RESTRICTED, "sh")) as process:
        try:
            assert process.stdout
            pid = int(process.stdout.readline())
        finally:
            process.kill()
    with Containerd(home) as containerd:
        assert containerd.pid == pid
        for each in (pid, Plugin(containerd, box).pid):
            looked_at = psutil.Process(each)
            assert looked_at.nice() == 0
            assert looked_at.ionice().ioclass == psutil.IOPRIO_CLASS_NONE
            assert looked_at.cpu_affinity() == psutil.Process(1).cpu_affinity()
            assert int(Path(f"/proc/{each}/oom_score_adj").read_text()) <= 1  # a shim adds one
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Umask:\s0022$", status, re.MULTILINE)
        ignored = int(re.search(r"^SigIgn:\s(\w+)$", status, re.MULTILINE)[1], 16)  # type: ignore[index]
        assert not ignored & 1 << signal.SIGUSR1 - 1
        assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_a_limit_that_it_cannot_work_with_and_not_raise_is_an_error_and_no_burden_for_the_next(home: Path) -> None:
    prefix = ("sh", "-c", 'ulimit -n 300; exec setpriv --bounding-set=-sys_resource "$@"', "sh")
    with supervise_in_another_process(home, prefix=prefix) as process:
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "open files are limited to 300, which this user may not raise" in stderr
    assert "try it after 'ulimit -n 1024'" in stderr
    with Containerd(home) as containerd:
        assert resource.prlimit(containerd.pid or 0, resource.RLIMIT_NOFILE)[0] >= 1024


def test_it_is_in_a_session_of_its_own_without_what_would_change_its_behaviour(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(home / "notify"))
    monkeypatch.setenv("CONTAINERD_ADDRESS", "/nonexistent")
    with Containerd(home) as containerd:
        assert containerd.pid
        assert os.getsid(containerd.pid) == containerd.pid
        environment = psutil.Process(containerd.pid).environ()
        assert not {"NOTIFY_SOCKET", "CONTAINERD_ADDRESS"} & environment.keys()


def test_it_listens_nowhere_but_in_its_directory(home: Path) -> None:
    with Containerd(home) as containerd:
        sockets = [str(c.laddr) for c in psutil.net_connections("all") if c.pid == containerd.pid and c.laddr]
        # A connection that it has accepted has the address of its listener.
        assert set(sockets) == {containerd.address, f"{containerd.address}.ttrpc"}


def test_two_live_side_by_side_and_the_end_of_one_leaves_the_tasks_of_the_other(box: Path) -> None:
    with Containerd(box / "one") as one:
        first = Plugin(one, box, "one")
        with Containerd(box / "two") as two:
            second = Plugin(two, box, "two")
            assert one.pid != two.pid
        second.assert_gone(two)
        assert first.is_running(one)
    first.assert_gone(one)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_directory_with_any_characters_in_its_name_works(box: Path, name: str) -> None:
    with Containerd(box / name) as containerd:
        plugin = Plugin(containerd, box)
        (box / name / "state" / "mount point").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", box / name / "state" / "mount point"], check=True)
        assert plugin.is_running(containerd)
        until_restarted(containerd, kill(containerd))
        assert plugin.is_running(containerd)
    plugin.assert_gone(containerd)
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(box) in line]
    where = Path(containerd.address).parent
    assert where == box / name or not where.exists()
    assert not list(where.glob("*.sock*"))


def test_a_socket_directory_of_somebody_else_is_not_used(box: Path) -> None:
    containerd = Containerd(box / "100%")
    parent = Path(containerd.address).parent
    parent.mkdir()
    try:
        parent.chmod(0o777)
        with pytest.raises(PluginExecError, match="can be written by other users"):
            containerd.start()
    finally:
        parent.rmdir()


def test_a_path_that_is_too_long_for_the_socket_is_refused_with_its_length_and_a_remedy(box: Path) -> None:
    room = LONGEST_ADDRESS - len(f"{box}//containerd.sock")
    with Containerd(box / ("x" * room)) as containerd:
        assert len(containerd.address) == LONGEST_ADDRESS
        assert Plugin(containerd, box).is_running(containerd)
    with pytest.raises(InvalidArgument, match=f"has {LONGEST_ADDRESS + 1} bytes") as raised:
        Containerd(box / ("x" * (room + 1)))
    assert raised.value.hint
    assert "shorter" in raised.value.hint
    with pytest.raises(InvalidArgument, match=f"has {LONGEST_ADDRESS + 1} bytes"):
        Containerd(box / ("é" * (room // 2) + "x" * (room % 2 + 1)))


@pytest.mark.parametrize("directory", ["/tmp/\udcff", "/tmp/a\0b", "", 7])
def test_what_is_no_path_in_utf8_is_refused(directory: str) -> None:
    with pytest.raises(InvalidArgument):
        Containerd(directory)


def test_a_directory_that_cannot_be_made_is_an_error_of_the_tree(box: Path) -> None:
    (box / "file").touch()
    with pytest.raises(InvalidArgument, match="cannot be used"):
        Containerd(box / "file" / "d").start()


def test_a_second_supervisor_of_a_directory_is_refused_and_the_first_is_untouched(home: Path) -> None:
    with Containerd(home) as first:
        pid = first.pid
        second = Containerd(f"{home}/../{home.name}/.")
        with pytest.raises(FailedPrecondition, match="another supervisor"):
            second.start()
        second.stop()
        assert first.pid == pid
        assert answers(first)
        assert Path(first.address).exists()
        with pytest.raises(FailedPrecondition, match="started already"):
            first.start()
    with second:
        assert answers(second)


@pytest.mark.parametrize("binary", ["containerd-is-not-here", "/tmp", "/etc/hostname", "a\0b"])
def test_a_missing_binary_is_a_failed_precondition_with_a_hint(home: Path, binary: str) -> None:
    with pytest.raises(FailedPrecondition, match="cannot run") as raised:
        Containerd(home, binary=binary).start()
    assert raised.value.hint
    assert "install" in raised.value.hint


def test_a_missing_ctr_is_a_failed_precondition_and_no_containerd_is_left(home: Path) -> None:
    with pytest.raises(FailedPrecondition, match="ctr-is-not-here"):
        Containerd(home, ctr="ctr-is-not-here").start()
    assert not processes_of(home)
    assert not (home / "containerd.pid").exists()


def test_one_that_ends_at_once_is_an_error_with_its_last_line_of_log(box: Path, home: Path) -> None:
    home.mkdir()
    (home / "containerd.log").write_text("what an earlier one said\n")
    with pytest.raises(FailedPrecondition, match=r"ended with code 3; its log ends with: no such thing$"):
        Containerd(home, binary=fake(box, "echo first >&2; echo no such thing >&2; exit 3")).start()
    with pytest.raises(FailedPrecondition, match=r"ended by signal 9; its log says nothing$"):
        Containerd(home, binary=fake(box, "kill -9 $$")).start()


def test_one_that_never_answers_is_an_error_in_time_and_is_ended(
    box: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STARTUP_TIMEOUT", 2.0)
    monkeypatch.setattr(supervisor, "ABORT_TIMEOUT", 0.2)
    containerd = Containerd(home, binary=fake(box, "trap '' TERM; echo thinking; while :; do sleep 0.05; done"))
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 2 s; its log ends with: thinking"):
        containerd.start()
    assert time.monotonic() - began < PATIENCE
    assert not processes_of(box, str(home / "config.toml"))
    assert containerd.pid is None
    containerd.stop()


def test_ctrl_c_while_it_starts_leaves_no_process(box: Path, home: Path) -> None:
    binary = fake(box, f"echo $$ >{box}/fake.pid; exec sleep 600")
    with supervise_in_another_process(home, binary) as process:
        wait_until(lambda: (box / "fake.pid").exists() and (box / "fake.pid").read_text(), "the fake runs")
        pid = int((box / "fake.pid").read_text())
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in stderr
    assert not alive(pid)


def test_stop_interrupts_a_start(box: Path, home: Path) -> None:
    containerd = Containerd(home, binary=fake(box, "exec sleep 600"))
    raised: list[BaseException] = []

    def start() -> None:
        try:
            containerd.start()
        except Unavailable as error:
            raised.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    wait_until((home / "containerd.pid").exists, "the fake was started")
    containerd.stop()
    starter.join(PATIENCE)
    assert "stopped as it started" in str(raised[0])
    assert containerd.pid is None


# Watching


def test_it_is_started_again_when_it_dies_and_a_task_survives_that(box: Path, home: Path) -> None:
    with Containerd(home) as containerd:
        plugin = Plugin(containerd, box)
        until_restarted(containerd, kill(containerd))
        assert plugin.is_running(containerd)
        until_restarted(containerd, kill(containerd, signal.SIGTERM))
        assert plugin.is_running(containerd)
        assert (home / "containerd.pid").read_text() == f"{containerd.pid}\n"
    plugin.assert_gone(containerd)


def test_it_gives_up_loudly_after_repeated_early_deaths_and_stop_still_ends_the_tasks(
    box: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    binary = fake(
        box, f"[ -e {box}/broken ] && {{ echo it is broken; exit 1; }}; echo >>{box}/starts; exec containerd $@"
    )
    containerd = Containerd(home, binary=binary)
    containerd.start()
    plugin = Plugin(containerd, box)
    (box / "broken").touch()
    kill(containerd)
    wait_until(lambda: [r for r in caplog.records if r.levelno >= logging.ERROR], "an error was logged")
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "gave up after containerd died early 5 times in a row" in record.getMessage()
    assert "it is broken" in record.getMessage()
    assert len([r for r in caplog.records if "starting it again" in r.getMessage()]) == 4
    assert containerd.pid is None
    for use in (lambda: containerd.remote, containerd.start):
        with pytest.raises(FailedPrecondition, match=r"gave up .* it is broken"):
            use()
    assert alive(plugin.pid)
    containerd.stop()
    plugin.assert_gone(containerd)
    (box / "broken").unlink()
    with containerd:  # after stop it is as new
        assert answers(containerd)


def test_the_pause_grows_with_early_deaths_and_a_late_death_starts_it_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Containerd(home) as containerd:
        for early_death in (10.0, 10.0, 10.0, 0.0, 10.0):
            monkeypatch.setattr(supervisor, "EARLY_EXIT", early_death)
            until_restarted(containerd, kill(containerd))
    pauses = re.findall(r"starting it again in (\S+) s", caplog.text)
    assert pauses == ["0.1", "0.2", "0.4", "0.1", "0.1"]


def test_stop_in_the_pause_before_a_restart_does_not_wait_for_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 60.0)
    containerd = Containerd(home, leave_tasks=True)
    containerd.start()
    kill(containerd)
    wait_until(lambda: containerd.pid is None, "the death was noticed")
    began = time.monotonic()
    containerd.stop()
    assert time.monotonic() - began < 30


# Stopping


def test_stop_ends_the_tasks_of_all_namespaces_and_leaves_no_shim_mount_or_cgroup(
    box: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Containerd(home) as containerd:
        plugins = [Plugin(containerd, box, f"n{number}") for number in range(12)]
        other = containerd.remote.new_client("other")
        command = ["ctr", "-a", containerd.address, "-n", "other", "run", "--detach", "--null-io", "--rootfs"]
        command += [str(box / "rootfs"), f"dmn-{os.getpid()}-other", "/bin/sleep", "600"]
        subprocess.run(command, check=True, timeout=30)
        (task,) = other.tasks().values()
        (home / "state/a/b").mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", home / "state/a"], check=True)
        (home / "state/a/b").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", home / "state/a/b"], check=True)
    for plugin in plugins:
        plugin.assert_gone(containerd)
    assert not alive(task.pid)
    assert not mounts_below(home)
    assert not list((home / "state/io.containerd.runtime.v2.task").glob("*/*"))
    assert not caplog.records  # nothing had to be forced
    with Containerd(home) as containerd:  # its database has forgotten them, too
        assert [Plugin.client(containerd).containers(), other.containers()] == [[], []]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_stop_ends_the_tasks_of_a_containerd_that_is_dead_or_hung(
    box: Path, home: Path, number: signal.Signals
) -> None:
    with Containerd(home, timeout=3.0) as containerd:
        plugin = Plugin(containerd, box)
        pid = kill(containerd, number)
    plugin.assert_gone(containerd)
    assert not alive(pid)
    with Containerd(home) as containerd:
        assert Plugin.client(containerd).containers() == []


def test_stop_ends_the_tasks_of_a_containerd_that_does_not_come_back(
    box: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    binary = fake(box, f"[ -e {box}/broken ] && exit 1; exec containerd $@")
    with Containerd(home, binary=binary) as containerd:
        with_shim, without = Plugin(containerd, box, "shim"), Plugin(containerd, box, "bare")
        (box / "broken").touch()
        kill(containerd)
        wait_until(lambda: containerd.pid is None, "the death was noticed")
        shim = shim_of(without, home)
        shim.kill()
        shim.wait(PATIENCE)
        assert alive(without.pid)
    with_shim.assert_gone(containerd)
    without.assert_gone(containerd)


def test_stop_ends_the_processes_of_tasks_whose_state_was_wiped(box: Path, home: Path) -> None:
    with Containerd(home, timeout=3.0) as containerd:
        plugin = Plugin(containerd, box)
        shutil.rmtree(home / "state")
    wait_until(lambda: not alive(plugin.pid), "the container is gone")
    assert not processes_of(home, containerd.address)


def test_stop_ends_a_task_whose_shim_hangs(box: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginexec.containerd.client.DELETE_TIMEOUT", 3.0)  # really 60 s, and the other 30
    with Containerd(home, timeout=3.0) as containerd:
        plugin = Plugin(containerd, box)
        suspend(shim_of(plugin, home))
    plugin.assert_gone(containerd)
    with Containerd(home) as containerd:
        assert Plugin.client(containerd).containers() == []


def test_stop_ends_loggers_that_wait_for_a_reader(box: Path, home: Path) -> None:
    os.mkfifo(box / "fifo")
    script = urllib.parse.quote(f"trap '' TERM; exec 6<>{box}/fifo 5>&-; cat <&3 >&6 & wait", safe="")
    with Containerd(home) as containerd:
        plugin = Plugin(containerd, box, args=["/bin/yes"], io=["--log-uri", f"binary:///bin/sh?-c={script}"])
        wait_until(lambda: copier_below(shim_of(plugin, home)), "the logger runs")
        cat = copier_below(shim_of(plugin, home))
        assert cat
        wait_until(lambda: bytes_in(box / "fifo") > 1 << 15, "the FIFO is full")
    plugin.assert_gone(containerd)
    assert not alive(cat.pid)


def test_stop_leaves_the_tasks_if_told_to_and_the_next_one_has_them(box: Path, home: Path) -> None:
    with Containerd(home, leave_tasks=True) as containerd:
        plugin = Plugin(containerd, box)
        bystander = subprocess.Popen(["sleep", "600"], cwd=next((home / "state").glob("*/*/*")))
    try:
        assert alive(plugin.pid)
        assert not Path(containerd.address).exists()
        with Containerd(home) as containerd:
            assert plugin.is_running(containerd)
        plugin.assert_gone(containerd)
        assert bystander.poll() is None  # a process that merely is in a bundle's directory
    finally:
        bystander.kill()
        bystander.wait()


def test_stop_may_be_called_twice_at_once_and_before_start(home: Path) -> None:
    containerd = Containerd(home)
    containerd.stop()
    containerd.start()
    pid = containerd.pid
    assert pid
    alive_after_stop = []

    def stop() -> None:
        containerd.stop()
        alive_after_stop.append(alive(pid))

    stoppers = [threading.Thread(target=stop) for _ in range(4)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join(20)
    assert alive_after_stop == [False] * 4
    containerd.stop()
    with containerd:
        assert answers(containerd)


def test_threads_and_descriptors_are_as_many_afterwards_as_before(box: Path, home: Path) -> None:
    def count() -> tuple[list[str], set[str]]:
        descriptors = [
            os.readlink(f"/proc/self/fd/{fd.name}")
            for fd in os.scandir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd.name}") or os.path.islink(f"/proc/self/fd/{fd.name}")
        ]
        return sorted(re.sub(r"\d+", "N", d) for d in descriptors), {thread.name for thread in threading.enumerate()}

    before = count()
    children = len(psutil.Process().children())
    for _ in range(3):
        with Containerd(home) as containerd:
            Plugin(containerd, box)
            assert "pluginexec-containerd" in count()[1]
            until_restarted(containerd, kill(containerd))
        with pytest.raises(FailedPrecondition):
            Containerd(home, binary=fake(box, "exit 1")).start()
    assert count() == before
    assert len(psutil.Process().children()) == children


# After we were killed


def test_one_whose_supervisor_was_killed_is_adopted_and_watched(box: Path, home: Path) -> None:
    with killed_supervisor(home) as pid:
        (home / "containerd.pid").unlink()  # we may be killed before it is written
        with Containerd(home) as containerd:
            assert containerd.pid == pid
            plugin = Plugin(containerd, box)
            until_restarted(containerd, kill(containerd))
            assert plugin.is_running(containerd)
        plugin.assert_gone(containerd)
        assert not alive(pid)


def test_stop_ends_an_adopted_one(home: Path) -> None:
    with killed_supervisor(home) as pid:
        with Containerd(home) as containerd:
            assert containerd.pid == pid
        assert not alive(pid)
        assert not processes_of(home)


def test_one_whose_supervisor_was_killed_and_which_hangs_is_replaced(
    home: Path,
) -> None:
    with killed_supervisor(home) as pid:
        suspend(pid)
        with Containerd(home, timeout=3.0) as containerd:
            assert containerd.pid != pid
            assert not alive(pid)
            assert answers(containerd)


def test_a_pid_file_that_names_another_process_is_not_believed(home: Path) -> None:
    home.mkdir()
    commands = [["sleep", "600"], ["sh", "-c", "sleep 600; :", "--config", str(home / "config.toml")]]
    strangers = [subprocess.Popen(command, start_new_session=True) for command in commands]
    try:
        for stranger in strangers:
            (home / "containerd.pid").write_text(str(stranger.pid))
            with Containerd(home) as containerd:
                assert containerd.pid != stranger.pid
            assert stranger.poll() is None
    finally:
        for stranger in strangers:
            os.killpg(stranger.pid, signal.SIGKILL)
            stranger.wait()


# Leaving it to the next


def test_leave_leaves_it_running_with_its_files_and_no_thread_and_the_next_one_adopts_it(box: Path, home: Path) -> None:
    before = threading.active_count()
    first = Containerd(home)
    first.start()
    pid, plugin = first.pid, Plugin(first, box)
    assert pid
    first.leave()
    first.leave()
    first.stop()  # it is not ours any more
    assert first.pid is None
    assert threading.active_count() == before
    assert alive(pid)
    assert (home / "containerd.pid").read_text() == f"{pid}\n"
    assert Plugin.client(first).server_version()
    with Containerd(home) as second:
        assert second.pid == pid
        assert plugin.is_running(second)
    plugin.assert_gone(second)
    assert not psutil.pid_exists(pid)  # reaped: it was started by this process


def test_one_that_was_left_outlives_its_process_and_keeps_no_directory_busy(box: Path, home: Path) -> None:
    code = (
        "import sys; from pluginexec.daemon.containerd import Containerd as C; c = C(sys.argv[1]); c.start(); c.leave()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, home], check=True, cwd=box, env=environment, timeout=60)
    pid = int((home / "containerd.pid").read_text())
    assert psutil.Process(pid).cwd() == "/"
    with Containerd(home) as containerd:
        assert containerd.pid == pid
    assert not alive(pid)


def test_leave_while_it_starts_leaves_no_process(box: Path, home: Path) -> None:
    containerd = Containerd(home, binary=fake(box, "exec sleep 600"))
    raised: list[BaseException] = []

    def start() -> None:
        try:
            containerd.start()
        except Unavailable as error:
            raised.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    wait_until((home / "containerd.pid").exists, "the fake was started")
    containerd.leave()
    starter.join(PATIENCE)
    assert "stopped as it started" in str(raised[0])
    assert not processes_of(box)
    assert not (home / "containerd.pid").exists()


def test_leave_in_the_pause_before_a_restart_leaves_no_file_that_names_a_running_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 60.0)
    containerd = Containerd(home)
    containerd.start()
    kill(containerd)
    wait_until(lambda: containerd.pid is None, "the death was noticed")
    containerd.leave()
    assert not Path(containerd.address).exists()
    assert not (home / "containerd.pid").exists()
