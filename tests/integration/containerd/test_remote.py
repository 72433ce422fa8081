"""How a containerd is reached, and what a refusal becomes. Real: ``ctr``, the sockets, the users."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginexec import DeadlineExceeded, PluginExecError, Remote, Unavailable
from tests.support.fakes import fake_command

NOBODY = 65534


# Ways not to answer.


def missing(path: Path) -> None:
    pass


def plain_file(path: Path) -> None:
    path.write_text("not a socket")


def directory(path: Path) -> None:
    path.mkdir()


def stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(missing, id="missing"),
        pytest.param(below_a_file, id="below-a-file"),
        pytest.param(plain_file, id="plain-file"),
        pytest.param(directory, id="directory"),
        pytest.param(stale, id="refused"),
    ],
)
def test_a_socket_at_which_nobody_listens_is_unavailable(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "run" / "s"
    path.parent.mkdir()
    make(path)
    with pytest.raises(Unavailable) as caught:
        Remote(str(path)).new_client("n").tasks()
    assert caught.value.operation == "list tasks"
    assert "is containerd running" in str(caught.value.hint)


def test_a_listener_that_never_answers_is_given_up_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises((Unavailable, DeadlineExceeded)):
            Remote(str(tmp_path / "s"), timeout=1.0).new_client("n").tasks()


def test_a_listener_that_hangs_up_is_unavailable(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        listener.shutdown(socket.SHUT_RDWR)
        with pytest.raises(Unavailable):
            Remote(str(tmp_path / "s"), timeout=20.0).new_client("n").tasks()


AS_NOBODY = f"""
import os, sys
from pluginexec import PluginExecError, Remote
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
try:
    print(Remote(sys.argv[1], ctr=sys.argv[2]).new_client("n").server_version())
except PluginExecError as error:
    print(type(error).__name__, error.hint, sep="\\n")
"""


def tell_as_nobody(address: str, ctr: str = "ctr") -> list[str]:
    command = [sys.executable, "-c", AS_NOBODY, address, ctr]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


def test_a_socket_in_a_directory_that_is_closed_to_this_user_is_permission_denied(remote: Remote) -> None:
    assert Path(remote.address).parent.stat().st_mode & 0o777 == 0o700
    kind, hint = tell_as_nobody(remote.address)
    assert kind == "PermissionDenied"
    assert "run as root" in hint


def test_a_socket_that_is_closed_to_this_user_is_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        open_up(path.parent)
        assert tell_as_nobody(str(path))[0] == "PermissionDenied"


def test_a_ctr_that_this_user_may_not_run_is_a_failed_precondition(tmp_path: Path) -> None:
    ctr = fake_command(tmp_path / "ctr", "exit 0")
    Path(ctr).chmod(0o700)
    open_up(tmp_path)
    assert tell_as_nobody("/s", ctr)[0] == "FailedPrecondition"


def open_up(path: Path) -> None:
    """Let everybody through to a directory below pytest's own, which is closed."""
    for parent in (path, *path.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)


def test_every_refusal_is_one_of_ours(remote: Remote) -> None:
    with pytest.raises(PluginExecError):
        Remote(remote.address + "x").new_client("n").server_version()
