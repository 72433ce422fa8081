"""Which program a process runs, and whether it is one of ours. Real: processes of other users, namespaces and roots."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pluginexec import Unavailable
from pluginexec.containerd.remote import Remote
from pluginexec.linux.identity import is_ours, listener, program_name

NOBODY = 65534
Start = Callable[..., int]
SCRIPT = ("sh", "-c", "echo up; read x")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a shell behind some other command, and return its pid; all are ended."""
    with contextlib.ExitStack() as ended:

        def start(*prefix: object, executable: Path | None = None) -> int:
            argv = [*map(str, prefix), *SCRIPT]
            process = subprocess.Popen(argv, executable=executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdin
            assert process.stdout
            for each in (process.wait, process.stdout.close, process.stdin.close):  # the last ends it
                ended.callback(each)
            assert process.stdout.readline() == b"up\n"
            return max([process.pid, *(each.pid for each in psutil.Process(process.pid).children())])

        yield start


def test_a_process_of_this_user_is_ours(start: Start) -> None:
    assert is_ours(os.getpid())
    assert is_ours(start())
    assert is_ours(start("nice", "-n", "5"))


@pytest.mark.parametrize(
    "prefix",
    [
        ("setpriv", "--reuid", NOBODY, "--clear-groups"),
        ("setpriv", "--ruid", NOBODY),
        ("unshare", "--pid", "--fork", "--kill-child"),
    ],
    ids=["another user", "a setuid program", "another pid namespace"],
)
def test_a_process_of_another_user_or_namespace_is_not_ours(start: Start, prefix: tuple[object, ...]) -> None:
    assert not is_ours(start(*prefix))


def test_a_process_with_another_root_directory_is_not_ours(start: Start, rootfs: Path) -> None:
    assert not is_ours(start("chroot", rootfs))


def test_a_process_that_has_ended_is_not_ours_and_has_no_program() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert program_name(process.pid) == ""
    process.wait()
    assert not is_ours(process.pid)
    assert program_name(process.pid) == ""


def test_the_program_is_known_by_its_file_also_when_that_was_replaced(start: Start, tmp_path: Path) -> None:
    shell = Path(shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "shell"))
    pid = start(executable=shell)
    assert program_name(pid) == "shell"
    shell.unlink()
    assert program_name(pid) == "shell"


def test_the_one_who_listens_on_a_socket_is_known(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    assert listener(str(path)) is None
    assert listener("\0" * 1000) is None
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as waiting:
        server.bind(str(path))
        assert listener(str(path)) is None
        server.listen(0)
        assert listener(str(path)) == os.getpid()
        while server.fileno() >= 0:  # until no connection is accepted
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        assert listener(str(path)) is None
        assert Remote(str(path)).listens()


def test_without_a_descriptor_the_question_is_an_error_and_no_answer(tmp_path: Path) -> None:
    address = str(tmp_path / "x.sock")
    questions: list[Callable[[], object]] = [
        lambda: listener(address),
        lambda: is_ours(os.getpid()),
        lambda: Remote(address).listens(),
    ]
    results: list[object] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        for question in questions:
            try:
                results.append(question())
            except Unavailable as error:
                results.append(error.message)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all("Too many open files" in str(result) for result in results), results
