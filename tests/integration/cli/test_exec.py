"""``pluginexec exec``, through the console script.

Real: the script, containerd, one plugin for all tests, runc, the processes in the plugin, signals, a terminal.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import PLUGIN_NAMESPACE, Containerd, Executor, default_spec
from pluginexec.host.records import Record, Records
from pluginexec.linux.pidfd import start_seconds
from tests.integration.cli.conftest import Done, finish
from tests.support.harness import PATIENCE, Exits, wait_until
from tests.support.layouts import one_directory
from tests.support.probe import environment, pluginexec
from tests.support.terminal import Terminal

PLUGIN = f"x{os.getpid()}-exec"
TICK = "while :; do sleep 0.05; done"
Start = Callable[..., "subprocess.Popen[bytes]"]
Px = Callable[..., Done]


class Plugin:
    """A plugin as the command line keeps it, under an executor of the tests' own."""

    def __init__(self, root: Path, containerd: Containerd, rootfs: Path) -> None:
        self.root = root
        self.exits = Exits()
        self.records = Records(one_directory(root))
        self.executor = Executor(root, containerd.remote, self.exits)
        self.client = containerd.remote.new_client(PLUGIN_NAMESPACE)
        self.address = containerd.address
        self.rootfs = rootfs
        self.create(PLUGIN, f"trap 'exit 3' TERM; {TICK}")
        self.start(PLUGIN)

    def create(self, id: str, script: str) -> None:
        """Make a record."""
        spec = default_spec(self.rootfs, ["sh", "-c", script], id=id, env=["A=plugin", "B=plugin"])
        record = Record(id, datetime.now(timezone.utc), str(self.address), PLUGIN_NAMESPACE, ["sh"], log_driver="none")
        self.records.create(record, spec)

    def start(self, id: str) -> None:
        """Start what was created."""
        self.executor.create(id, self.records.spec(id))
        pid = self.executor.pid(id)
        self.records.change_state(id, status="running", pid=pid, pid_started=start_seconds(pid) or 0.0)

    def processes(self, *names: str) -> list[psutil.Process]:
        """Return the processes of the plugin, beside its shell, whose name is among these."""
        init = psutil.Process(self.executor.pid(PLUGIN))
        space = os.readlink(f"/proc/{init.pid}/ns/pid")
        return [
            process
            for process in psutil.process_iter(["name"])
            if process.info["name"] in names and _is_in(process, space)
        ]


def _is_in(process: psutil.Process, space: str) -> bool:
    try:
        return os.readlink(f"/proc/{process.pid}/ns/pid") == space
    except OSError:
        return False


@pytest.fixture(scope="module")
def plugin(containerd: Containerd, rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """One plugin for all tests of this file."""
    plugin = Plugin(tmp_path_factory.mktemp("root"), containerd, rootfs)
    try:
        yield plugin
        assert PLUGIN not in plugin.exits.ids, "an exec ended the plugin, or its end was taken for the plugin's"
        assert plugin.executor.is_running(PLUGIN)
    finally:
        plugin.executor.stop(PLUGIN, 0)
        plugin.executor.close()


@pytest.fixture
def start(plugin: Plugin) -> Iterator[Start]:
    """Start ``pluginexec exec`` with some arguments; what a test leaves running is ended."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        options = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "env": environment(), **options}
        started.append(subprocess.Popen(pluginexec("--root", plugin.root, "exec", *arguments), **options))
        return started[-1]

    yield start
    running = [process for process in started if process.poll() is None]
    for process in started:
        with process:
            process.kill()
    left = list((plugin.root / "plugins").glob("*/exec-*"))
    for directory in left:
        shutil.rmtree(directory)
    assert not left or running


@pytest.fixture
def px(start: Start) -> Px:
    """Run ``pluginexec exec`` to its end."""
    return lambda *arguments, **options: finish(start(*arguments, **options))


def test_the_exit_code_is_the_commands(px: Px) -> None:
    assert px(PLUGIN, "true") == Done(0, b"", b"")
    assert px(PLUGIN, "sh", "-c", "exit 42") == Done(42, b"", b"")
    assert px(PLUGIN, "sh", "-c", "kill -KILL $$") == Done(137, b"", b"")
    # What the runtime itself ends with when it fails.
    assert px(PLUGIN, "sh", "-c", "echo exec failed: this is not an error >&2; exit 255") == Done(
        255, b"", b"exec failed: this is not an error\n"
    )


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("no-such-command", 127, b"'no-such-command' is not on the PATH of the root file system"),
        ("/no/such/command", 127, b"'/no/such/command' is not in the root file system"),
        ("/etc/passwd", 126, b"'/etc/passwd' cannot be executed: permission denied"),
        ("/etc", 126, b"'/etc' cannot be executed: "),
        ("/etc/passwd/x", 126, b"'/etc/passwd/x' cannot be executed: not a directory"),
    ],
)
def test_a_command_that_cannot_be_run_is_reported_in_one_line(px: Px, command: str, code: int, said: bytes) -> None:
    for options in ((), ("-d",)):
        done = px(*options, PLUGIN, command)
        assert (done.code, done.out) == (code, b"")
        assert done.err.startswith(b"pluginexec: exec '" + PLUGIN.encode() + b"': " + said)
        assert done.err.count(b"\n") == 1


def test_both_streams_are_passed_on_untouched(px: Px) -> None:
    script = r"printf 'out\0\377\r\n\n'; printf 'err\0\377\r\n\nx' >&2; head -c 1000000 /dev/zero >&2"
    assert px(PLUGIN, "sh", "-c", script) == Done(0, b"out\0\xff\r\n\n", b"err\0\xff\r\n\nx" + bytes(1_000_000))


def test_stdin_is_ours_with_i_and_empty_without(start: Start) -> None:
    data = bytes(range(256)) * 4096
    process = start("-i", PLUGIN, "cat", stdin=subprocess.PIPE)
    out, err = process.communicate(data, timeout=PATIENCE)
    assert (process.returncode, out == data, err) == (0, True, b"")
    process = start(PLUGIN, "cat", stdin=subprocess.PIPE)
    assert finish(process) == Done(0, b"", b"")


def test_the_environment_is_the_plugins_with_what_was_asked_for(px: Px, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("C=file\nD=file\n")
    options = ("-e", "B=own", "--env", "HERE", "-e", "D=flag", "--env-file", str(tmp_path / "env"))
    done = px(*options, PLUGIN, "env", env=environment(HERE="yes", SECRET="no"))
    values = dict(line.split("=", 1) for line in done.lines)
    expected = {"A": "plugin", "B": "own", "C": "file", "D": "flag", "HERE": "yes", "HOME": "/root"}
    assert expected.items() <= values.items()
    assert values.keys() == {*expected, "PATH"}


def test_a_value_is_on_no_command_line(start: Start) -> None:
    script = "echo $KEY; exec cat"
    process = start("-i", "-e", "KEY", PLUGIN, "sh", "-c", script, stdin=subprocess.PIPE, env=environment(KEY="secret"))
    assert process.stdout
    assert process.stdout.readline() == b"secret\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    assert not [child for child in children if "secret" in " ".join(child.cmdline())]
    assert finish(process) == Done(0, b"", b"")


def test_directory_and_user_are_what_was_asked_for(px: Px) -> None:
    assert px("-w", "/tmp", "-u", "5:6", PLUGIN, "sh", "-c", "pwd; id -u; id -G").lines == ["/tmp", "5", "6"]
    assert px(PLUGIN, "sh", "-c", "pwd; id -u").lines == ["/", "0"]
    done = px("-u", "nobody", PLUGIN, "true")
    assert (done.code, done.err.count(b"\n")) == (125, 1)
    assert b"--user 'nobody': no such user in the container's /etc/passwd" in done.err
    done = px("-w", "/no/such", PLUGIN, "true")
    assert done.code == 125
    assert b"the working directory '/no/such' cannot be entered" in done.err


def test_it_has_the_plugins_capabilities_and_cgroup(px: Px) -> None:
    script = "grep Cap /proc/$1/status; grep NoNewPrivs /proc/$1/status; cat /proc/$1/cgroup"
    own, plugins = (px(PLUGIN, "sh", "-c", script, "sh", which).lines for which in ("self", "1"))
    assert own == plugins


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_goes_to_the_command_and_not_to_the_plugin(start: Start, name: str) -> None:
    process = start(PLUGIN, "sh", "-c", f"trap 'echo got it; exit 9' {name}; echo ready; {TICK}")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert finish(process) == Done(9, b"got it\n", b"")


def test_a_signal_that_ends_the_command_is_128_more(start: Start) -> None:
    process = start(PLUGIN, "sh", "-c", "echo ready; exec sleep 1000")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert finish(process) == Done(143, b"", b"")


def test_the_third_signal_kills_a_command_that_ignores_them(start: Start, plugin: Plugin) -> None:
    process = start(PLUGIN, "sh", "-c", f"trap 'echo no' INT; echo ready; {TICK}")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"no\n"
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 137
    assert [each.pid for each in plugin.processes("sh")] == [plugin.executor.pid(PLUGIN)]


def test_a_reader_that_goes_away_ends_it_in_silence(start: Start) -> None:
    process = start(PLUGIN, "yes")
    assert process.stdout
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(PATIENCE) in (1, 141)
    assert process.stderr
    assert b"pluginexec" not in process.stderr.read()


def test_in_the_background_it_goes_on_without_us(px: Px, plugin: Plugin) -> None:
    assert px("-d", PLUGIN, "sh", "-c", "exec tail -f /dev/null") == Done(0, b"", b"")
    (process,) = plugin.processes("tail")
    assert {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
    process.kill()
    wait_until(lambda: not plugin.processes("tail"), "its end")


@pytest.mark.parametrize("option", ["-i", "-t"])
def test_the_background_has_no_streams(px: Px, option: str) -> None:
    done = px("-d", option, PLUGIN, "true")
    assert done.code == 125
    assert b"--detach conflicts with --interactive and --tty" in done.err


def test_without_a_terminal_there_is_none_to_give(px: Px) -> None:
    done = px("-t", PLUGIN, "true")
    assert (done.code, done.out) == (125, b"")
    assert b"the input device is not a TTY" in done.err


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal."""
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_on_a_terminal_keys_size_and_exit_code_pass_through(start: Start, terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.slave)
    resized = '[ "$(stty size)" = "22 66" ]'
    script = f"stty size; echo $TERM; read line; echo got $line; until {resized}; do sleep 0.05; done; exit 6"
    process = start("-it", PLUGIN, "sh", "-c", script, **terminal.on())
    terminal.shows(b"33 77\r\nxterm\r\n")
    terminal.type(b"hello\r")
    terminal.shows(b"got hello\r\n")
    terminal.resize(22, 66)
    assert process.wait(PATIENCE) == 6
    assert termios.tcgetattr(terminal.slave) == before


@pytest.mark.parametrize("options", [("-t",), ()])
def test_ctrl_c_on_a_terminal_reaches_the_command_once(
    start: Start, px: Px, terminal: Terminal, options: tuple[str, ...]
) -> None:
    # A `wait` is interrupted at once: of two signals that come one after the other, none is lost in the other.
    script = (
        "trap 'n=x$n; echo got $n.' INT; trap 'kill $!; exit 4' TERM; sleep 1000 & echo ready; while :; do wait; done"
    )
    process = start(*options, PLUGIN, "sh", "-c", script, **terminal.on())
    terminal.shows(b"ready")
    # While we are held, only the terminal itself could send it to the runtime; afterwards, we do.
    process.send_signal(signal.SIGSTOP)
    terminal.type(b"\x03")
    px(PLUGIN, "true")
    process.send_signal(signal.SIGCONT)
    terminal.shows(b"got x.")
    process.terminate()
    assert process.wait(PATIENCE) == 4
    terminal.shows(b"")
    assert b"got xx." not in terminal.shown


def test_an_error_on_a_terminal_is_one_line(start: Start, terminal: Terminal) -> None:
    assert start("-t", PLUGIN, "no-such-command", **terminal.on()).wait(PATIENCE) == 127
    terminal.shows(b"is not on the PATH")
    terminal.shows(b"\n")
    assert terminal.shown.count(b"no-such-command") == 1


def test_a_plugin_that_is_paused_is_left_alone(px: Px, plugin: Plugin) -> None:
    plugin.client.pause(PLUGIN)
    try:
        done = px(PLUGIN, "true")
    finally:
        plugin.client.resume(PLUGIN)
    assert (done.code, done.out) == (125, b"")
    assert b"it is paused; hint: let it go on with 'pluginexec unpause " in done.err
    assert px(PLUGIN, "true").code == 0


def test_a_plugin_that_does_not_run_or_is_not_there_is_reported(px: Px, plugin: Plugin) -> None:
    id = f"x{os.getpid()}-idle"
    plugin.create(id, "true")
    done = px(id, "true")
    assert (done.code, done.err.count(b"\n")) == (125, 1)
    assert b"it is not running; hint: start it with 'pluginexec start " in done.err
    done = px("no-such-plugin", "true")
    assert (done.code, done.err.count(b"\n")) == (125, 1)
    assert b"no such plugin: 'no-such-plugin'" in done.err


def test_a_command_ends_with_its_plugin(start: Start, plugin: Plugin) -> None:
    id = f"x{os.getpid()}-short"
    plugin.create(id, TICK)
    plugin.start(id)
    process = start(id, "sh", "-c", f"echo ready; {TICK}")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    plugin.executor.stop(id, 0)
    assert finish(process) == Done(137, b"", b"")
    plugin.exits.wait_for(1)
    assert plugin.exits.ids == [id]


def test_the_beginning_of_an_id_is_enough(px: Px) -> None:
    assert px(PLUGIN[:-1], "true").code == 0


def test_help_names_every_option(px: Px) -> None:
    text = px("--help").out
    for option in (b"--detach", b"--env", b"--env-file", b"--interactive", b"--tty", b"--user", b"--workdir", b"127"):
        assert option in text
