"""One command: its argv, its environment, its end.

Real: processes, sessions, signals and pipes. The ``ctr`` is a shell script, made to hang, to die and to talk rubbish.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec.containerd.ctr import (
    Completed,
    Ctr,
    Subprocesses,
    Watch,
    _mortal,
    close_pipes,
    kill_group,
    run_command,
    uninterrupted,
)
from pluginexec.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PluginExecError,
    Unavailable,
    Unknown,
)
from tests.support.fakes import fake_command
from tests.support.harness import PATIENCE, held_descriptors, wait_until
from tests.support.shortages import few_descriptors

SHORT = 0.3
"""Seconds after which a command that hangs is cut short."""


@pytest.fixture
def runner() -> Subprocesses:
    return Subprocesses()


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], str]:
    return lambda script: fake_command(tmp_path / "ctr", script)


@dataclass
class Recorder:
    """A runner that runs nothing and remembers."""

    answer: Completed = field(default_factory=lambda: Completed((), 0, "", ""))
    commands: list[tuple[list[str], float]] = field(default_factory=list)

    def run(self, argv: Any, timeout: float, watch: Watch = None) -> Completed:
        self.commands.append((list(argv), timeout))
        return self.answer

    def start(self, argv: Any, *, separate_stderr: bool) -> subprocess.Popen[bytes]:
        raise AssertionError


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def noted(path: Path) -> list[int]:
    """Return the pids that a fake noted."""
    return [int(word) for word in path.read_text().split()]


# The command line.


@pytest.mark.parametrize(
    ("remotes", "own", "seconds"),
    [(30, None, "30s"), (30, 60.0, "60s"), (0.2, None, "1s"), (1e6, None, "1000000s")],
    ids=["the-remotes", "its-own", "rounded-up", "the-longest"],
)
def test_the_command_line_names_address_namespace_and_a_connect_timeout_that_is_the_commands_own(
    tmp_path: Path, remotes: float, own: float | None, seconds: str
) -> None:
    (tmp_path / "a b.sock").touch()
    ctr = Ctr(Recorder(), "/x/ctr", f"{tmp_path}/a b.sock", "plugins.moby", remotes)
    assert ctr.argv("tasks", "kill", "--signal", "9", "--", "a", timeout=own) == [
        "/x/ctr",
        *("--connect-timeout", seconds),
        *("--address", f"{tmp_path}/a b.sock"),
        *("--namespace", "plugins.moby"),
        *("tasks", "kill", "--signal", "9", "--", "a"),
    ]


def test_a_socket_that_is_not_there_is_not_waited_for_long(tmp_path: Path) -> None:
    ctr = Ctr(Recorder(), "ctr", f"{tmp_path}/missing.sock", "n", 30)
    assert ctr.argv("version")[:3] == ["ctr", "--connect-timeout", "2s"]


@pytest.mark.parametrize(
    ("own", "used"), [pytest.param(None, 30.0, id="the-remotes"), pytest.param(99.0, 99.0, id="its-own")]
)
def test_a_command_has_its_own_timeout_or_the_remotes(own: float | None, used: float) -> None:
    recorder = Recorder()
    ctr = Ctr(recorder, "ctr", "/s", "n", 30.0)
    ctr.run("version", operation="ask", timeout=own)
    assert recorder.commands == [(ctr.argv("version", timeout=used), used)]


def test_an_error_says_what_was_tried_with_which_id(fake: Callable[[str], str]) -> None:
    argv = [fake('echo "ctr: task a not found" >&2; exit 1'), "x y"]
    with pytest.raises(NotFound) as caught:
        run_command(Subprocesses(), argv, PATIENCE, operation="signal", id="a")
    error = caught.value
    assert (error.operation, error.id, error.argv, error.returncode) == ("signal", "a", tuple(argv), 1)
    assert str(error) == "signal 'a': ctr: task a not found"


# The process.


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("exit 0", r"exit status 0 in \d+ ms"),
        ("echo 'ctr: no such thing: not found' >&2; exit 1", r"exit status 1 in \d+ ms: ctr: no such thing: not found"),
        ("exec sleep 1000", r"no exit status in \d+ ms: ctr gave no answer within 0.1 s"),
    ],
    ids=["success", "failure", "no answer"],
)
def test_a_command_is_logged_so_that_it_can_be_pasted_with_its_result_and_milliseconds(
    fake: Callable[[str], str], caplog: pytest.LogCaptureFixture, script: str, result: str
) -> None:
    caplog.set_level(logging.DEBUG, "pluginexec.containerd.ctr")
    ctr = Ctr(Subprocesses(), fake(script), "/run/a b.sock", "n", 30)
    with contextlib.suppress(PluginExecError):
        ctr.run("tasks", "ls", operation="list tasks", timeout=0.1 if "sleep" in script else None)
    (record,) = caplog.records
    seconds = "1s" if "sleep" in script else "2s"
    line = f"{ctr.binary} --connect-timeout {seconds} --address '/run/a b.sock' --namespace n tasks ls"
    assert re.fullmatch(f"{re.escape(line)}: {result}", record.getMessage())


def test_a_command_gets_its_arguments_untouched_by_a_shell(runner: Subprocesses, fake: Callable[[str], str]) -> None:
    arguments = ["a b", "$(reboot)", "*", "'", '"', "a\nb", "é", "", "--", ";"]
    completed = runner.run([fake('printf "%s\\0" "$@"'), *arguments], PATIENCE)
    assert completed.stdout.split("\0")[:-1] == arguments


def test_a_command_does_not_inherit_what_would_change_its_meaning(
    runner: Subprocesses, fake: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE", "CONTAINERD_SNAPSHOTTER", "SOURCE_DATE_EPOCH"):
        monkeypatch.setenv(name, "1234")
    monkeypatch.setenv("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "0")
    monkeypatch.setenv("HTTPS_PROXY", "kept")
    lines = runner.run([fake("env")], PATIENCE).stdout.splitlines()
    assert [line for line in lines if line.startswith(("CONTAINERD_", "SOURCE_DATE"))] == [
        "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1"
    ]
    assert "HTTPS_PROXY=kept" in lines
    assert os.environ["CONTAINERD_ADDRESS"] == "1234"


def test_a_command_has_a_session_of_its_own_and_no_stdin(runner: Subprocesses, fake: Callable[[str], str]) -> None:
    completed = runner.run([fake("readlink /proc/$$/fd/0; echo $$; cut -d' ' -f6 /proc/$$/stat")], PATIENCE)
    stdin, pid, session = completed.stdout.split()
    assert stdin == "/dev/null"
    assert pid == session


def test_megabytes_on_both_streams_arrive(runner: Subprocesses, fake: Callable[[str], str]) -> None:
    size = 8_000_000
    script = f"head -c {size} /dev/zero | tr '\\0' o & head -c {size} /dev/zero | tr '\\0' e >&2; wait"
    completed = runner.run([fake(script)], PATIENCE)
    assert completed.stdout == "o" * size
    assert completed.stderr == "e" * size


def test_bytes_that_are_no_text_are_replaced(runner: Subprocesses, fake: Callable[[str], str]) -> None:
    completed = runner.run([fake(r"printf 'a\377\376b\000'; printf '\303' >&2")], PATIENCE)
    assert completed.stdout == "a\ufffd\ufffdb\0"
    assert completed.stderr == "\ufffd"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 1", 1, id="one"),
        pytest.param("exit 3", 3, id="unknown-subcommand"),
        pytest.param("exit 255", 255, id="highest"),
        pytest.param("kill -KILL $$", -9, id="killed"),
        pytest.param("kill -SEGV $$", -11, id="crashed"),
        pytest.param("yes | head -c 5000000 >&2; exit 7", 7, id="much-to-say"),
        pytest.param(r"printf '\000\377\033[31m\n' >&2; exit 7", 7, id="rubbish"),
    ],
)
def test_a_failure_that_nobody_foresaw_is_unknown_and_has_its_code(
    fake: Callable[[str], str], script: str, code: int
) -> None:
    with pytest.raises(Unknown) as caught:
        run_command(Subprocesses(), [fake(script)], PATIENCE, operation="run", id="a")
    assert caught.value.returncode == code
    assert len(str(caught.value)) < 1000


# The end of one that hangs.

HANGS = [
    pytest.param("exec sleep 1000", id="itself"),
    pytest.param("sleep 1000 & echo $! >>$here/pids; wait", id="with-a-child"),
    pytest.param("trap '' TERM INT HUP; sleep 1000 & echo $! >>$here/pids; wait", id="deaf-to-signals"),
    pytest.param("sleep 1000 & echo $! >>$here/pids", id="ended-and-its-child-keeps-the-pipe"),
    pytest.param("exec >&- 2>&-; sleep 1000 & echo $! >>$here/pids; wait", id="with-closed-pipes"),
]


@pytest.mark.parametrize("script", HANGS)
def test_a_hung_command_is_killed_with_its_whole_group(
    runner: Subprocesses, fake: Callable[[str], str], tmp_path: Path, script: str
) -> None:
    argv = [fake(f"echo $$ >>$here/pids; {script}"), "tasks", "ls"]
    with pytest.raises(DeadlineExceeded, match=r"ctr gave no answer within 1 s") as caught:
        runner.run(argv, 1.0)
    pids = noted(tmp_path / "pids")
    assert len(pids) == script.count("$!") + 1
    # The kernel delivers SIGKILL in its own time to those that we cannot wait for.
    wait_until(lambda: not any(map(lives, pids)), "the end of the whole group")
    assert caught.value.argv == tuple(argv)
    assert caught.value.returncode is None


def test_one_that_left_the_group_and_keeps_the_pipe_holds_nobody_up(
    runner: Subprocesses, fake: Callable[[str], str], tmp_path: Path
) -> None:
    script = "setsid sh -c 'echo $$ >>$0/pids; exec sleep 1000' $here & wait"
    try:
        with pytest.raises(DeadlineExceeded):
            runner.run([fake(script)], 1.0)
    finally:
        for pid in noted(tmp_path / "pids"):
            os.kill(pid, signal.SIGKILL)


def test_a_deadline_names_operation_and_id(fake: Callable[[str], str]) -> None:
    ctr = Ctr(Subprocesses(), fake("exec sleep 1000"), "/s", "n", SHORT)
    with pytest.raises(DeadlineExceeded, match=r"signal 'a': ctr gave no answer within 0\.3 s") as caught:
        ctr.run("tasks", "kill", operation="signal", id="a")
    assert (caught.value.operation, caught.value.id) == ("signal", "a")
    assert caught.value.hint


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Python ignores SIGINT where its parent, such as a shell that ran it in the background, did."""
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, was)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_kills_the_command(runner: Subprocesses, fake: Callable[[str], str], tmp_path: Path) -> None:
    # Once head is through, somebody reads its megabyte: the runner waits for the end, and can be interrupted there.
    script = "head -c 1000000 /dev/zero; sleep 1000 & echo $$ $! >$here/pids; kill -INT $PPID; wait"
    with pytest.raises(KeyboardInterrupt):
        runner.run([fake(script)], PATIENCE)
    pids = noted(tmp_path / "pids")
    wait_until(lambda: not any(map(lives, pids)), "the end of the command")


# The end of one that talks without end.


@pytest.mark.parametrize("stream", ["", ">&2"], ids=["stdout", "stderr"])
def test_a_command_that_never_stops_talking_is_killed_with_its_whole_group(
    runner: Subprocesses, fake: Callable[[str], str], tmp_path: Path, stream: str
) -> None:
    with pytest.raises(Unknown, match="printed more than"):
        runner.run([fake(f"yes {stream} & echo $$ $! >$here/pids; wait")], PATIENCE)
    wait_until(lambda: not any(map(lives, noted(tmp_path / "pids"))), "the end of the whole group")


def test_no_more_is_kept_of_a_command_than_the_limit(
    runner: Subprocesses, fake: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pluginexec.containerd.ctr.OUTPUT_LIMIT", 1000)
    assert len(runner.run([fake("head -c 1000 /dev/zero")], PATIENCE).stdout) == 1000
    with pytest.raises(Unknown):
        runner.run([fake("head -c 1001 /dev/zero")], PATIENCE)


def test_one_that_talks_slowly_and_without_end_is_late(runner: Subprocesses, fake: Callable[[str], str]) -> None:
    with pytest.raises(DeadlineExceeded):
        runner.run([fake("while :; do echo; sleep 0.01; done")], SHORT)


# Work that an interrupt does not cut short.


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_waits_for_the_end_of_work_that_must_not_be_interrupted() -> None:
    ends: list[bool] = []

    def work() -> None:
        interrupt()
        time.sleep(SHORT)  # while this is waited for, it arrives
        ends.append(True)

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work)
    assert ends


@pytest.mark.usefixtures("_interruptible")
def test_a_second_interrupt_waits_for_nothing_and_the_work_goes_on() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        while not release.wait(SHORT):
            interrupt()
        ended.set()

    # A third may come before the work ends.
    with contextlib.suppress(KeyboardInterrupt):
        try:
            with pytest.raises(KeyboardInterrupt):
                uninterrupted(work)
            assert not ended.is_set()
        finally:
            release.set()
    assert ended.wait(PATIENCE)


def test_uninterrupted_work_returns_and_raises_as_it_does() -> None:
    assert uninterrupted(lambda: 7) == 7
    with pytest.raises(NotFound):
        uninterrupted(fail)


def fail() -> None:
    raise NotFound("nothing")


def test_uninterrupted_work_is_done_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert uninterrupted(lambda: 7) == 7


# Commands that cannot be run.


def not_executable(directory: Path) -> str:
    path = Path(fake_command(directory / "ctr", "exit 0"))
    path.chmod(0o644)
    return str(path)


def no_program(directory: Path) -> str:
    path = directory / "ctr"
    path.write_bytes(b"\x7fELF, or so it says")
    path.chmod(0o755)
    return str(path)


def interpreter_missing(directory: Path) -> str:
    path = directory / "ctr"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    return str(path)


def a_loop(directory: Path) -> str:
    (directory / "ctr").symlink_to("ctr")
    return str(directory / "ctr")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda directory: "no-such-ctr", id="not-on-the-path"),
        pytest.param(lambda directory: f"{directory}/no/ctr", id="no-such-directory"),
        pytest.param(lambda directory: not_executable(directory) + "/ctr", id="below-a-file"),
        pytest.param(lambda directory: str(directory), id="directory"),
        pytest.param(lambda directory: "", id="empty"),
        pytest.param(lambda directory: "c\0tr", id="nul"),
        pytest.param(lambda directory: "c\udc00tr", id="surrogate"),
        pytest.param(lambda directory: "x" * 5000, id="name-too-long"),
        pytest.param(not_executable, id="not-executable"),
        pytest.param(no_program, id="no-program"),
        pytest.param(interpreter_missing, id="interpreter-missing"),
        pytest.param(a_loop, id="loop"),
    ],
)
def test_a_ctr_that_cannot_be_run_is_a_failed_precondition(tmp_path: Path, make: Callable[[Path], str]) -> None:
    ctr = Ctr(Subprocesses(), make(tmp_path), "/s", "n", PATIENCE)
    with pytest.raises(FailedPrecondition, match="cannot run") as caught:
        ctr.run("version", operation="ask for the version", id="a")
    assert (caught.value.operation, caught.value.id) == ("ask for the version", "a")
    assert caught.value.argv == tuple(ctr.argv("version"))
    assert caught.value.returncode is None


def test_a_ctr_that_is_missing_comes_with_advice() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        Ctr(Subprocesses(), "/no/ctr", "/s", "n", PATIENCE).run("version", operation="ask")
    assert "apt-get install containerd" in str(caught.value.hint)


def test_a_lack_of_file_descriptors_is_unavailable_and_costs_none(
    runner: Subprocesses, fake: Callable[[str], str]
) -> None:
    argv = [fake("exit 0")]
    before = held_descriptors()
    for spare in range(7):  # /dev/null, two pipes, and the one by which a failed exec is told
        with few_descriptors(spare), pytest.raises(Unavailable, match=r"cannot start .*ctr': Too many open files"):
            runner.run(argv, PATIENCE)
        assert held_descriptors() == before
    with few_descriptors(7):
        runner.run(argv, PATIENCE)


def test_a_ctr_that_is_being_written_is_unavailable(runner: Subprocesses, fake: Callable[[str], str]) -> None:
    path = fake("exit 0")
    with open(path, "ab"), pytest.raises(Unavailable, match="Text file busy"):
        runner.run([path], PATIENCE)
    assert runner.run([path], PATIENCE).returncode == 0


# In the background.


@pytest.mark.parametrize(
    "make",
    [lambda directory: "no-such-ctr", lambda directory: f"{directory}/ctr", str, not_executable, lambda directory: ""],
    ids=["not-on-the-path", "missing", "directory", "not-executable", "empty"],
)
def test_a_background_command_that_cannot_be_run_is_a_failed_precondition(
    runner: Subprocesses, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    with pytest.raises(FailedPrecondition, match="cannot run") as caught:
        runner.start([make(tmp_path), "events"], separate_stderr=True)
    assert caught.value.hint


def test_a_background_command_that_turns_out_to_be_no_program_is_a_failed_precondition(
    fake: Callable[[str], str], tmp_path: Path
) -> None:
    ctr = Ctr(Subprocesses(), interpreter_missing(tmp_path), "/s", "n", PATIENCE)
    with pytest.raises(FailedPrecondition, match=r"failed to execute|cannot run"):
        ctr.finish(ctr.start("version", separate_stderr=True), "version", operation="ask")


@pytest.mark.parametrize(
    "script",
    [pytest.param("echo 'unrecognized option' >&2; exit 1", id="busybox"), pytest.param(None, id="none at all")],
)
def test_a_background_command_runs_where_setpriv_is_of_no_use(
    runner: Subprocesses,
    fake: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
) -> None:
    directory = tmp_path / "path"
    directory.mkdir()
    if script:
        fake_command(directory / "setpriv", script)
    _mortal.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(directory))
            process = runner.start([fake("echo runs")], separate_stderr=True)
        with process:
            assert process.communicate(timeout=PATIENCE)[0] == b"runs\n"
    finally:
        _mortal.cache_clear()


def test_a_background_command_dies_with_the_thread_that_started_it(
    runner: Subprocesses, fake: Callable[[str], str]
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    end = threading.Event()

    def start_and_stay() -> None:
        started.append(runner.start([fake("echo ready; exec sleep 1000")], separate_stderr=False))
        end.wait(PATIENCE)

    thread = threading.Thread(target=start_and_stay)
    thread.start()
    wait_until(lambda: started, "the start")
    process = started[0]
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert process.poll() is None
        end.set()
        thread.join(PATIENCE)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    finally:
        end.set()
        thread.join(PATIENCE)
        kill_group(process)
        close_pipes(process)


@pytest.mark.parametrize(
    ("separate", "stdout", "stderr"),
    [
        pytest.param(True, b"out\n", b"err\n", id="apart"),
        pytest.param(False, b"out\nerr\n", None, id="together"),
    ],
)
def test_a_background_command_has_its_streams_apart_or_together(
    runner: Subprocesses, fake: Callable[[str], str], separate: bool, stdout: bytes, stderr: bytes | None
) -> None:
    with runner.start([fake("echo out; echo err >&2")], separate_stderr=separate) as process:
        assert process.communicate(timeout=PATIENCE) == (stdout, stderr)


def test_a_background_command_has_a_session_of_its_own_and_a_clean_environment(
    runner: Subprocesses, fake: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINERD_ADDRESS", "/elsewhere")
    with runner.start([fake("env; cut -d' ' -f6 /proc/$$/stat")], separate_stderr=False) as process:
        *environment, session = process.communicate(timeout=PATIENCE)[0].split(b"\n")[:-1]
    assert not any(line.startswith(b"CONTAINERD_ADDRESS") for line in environment)
    assert int(session) == process.pid


def test_killing_the_group_of_a_background_command_takes_its_children_along(
    runner: Subprocesses, fake: Callable[[str], str]
) -> None:
    process = runner.start([fake("sleep 1000 & echo $!; exec sleep 1000")], separate_stderr=False)
    try:
        assert process.stdout is not None
        child = int(process.stdout.readline())
    finally:
        kill_group(process)
        close_pipes(process)
    assert process.returncode == -signal.SIGKILL
    wait_until(lambda: not lives(child), "the end of the child")
    kill_group(process)  # and again: nothing happens
