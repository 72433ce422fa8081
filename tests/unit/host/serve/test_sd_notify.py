"""What systemd is told. Real: the sockets, in the file system and in the abstract name space. There is no systemd."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginexec.host.serve.sd_notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager, named in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@pluginexec-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0"))
        receiver.settimeout(5)
        yield receiver


def test_each_state_is_one_datagram_in_the_words_of_sd_notify(systemd: socket.socket) -> None:
    notifier = Notifier.from_environment()
    notifier.ready("3 plugins")
    notifier.status("2 plugins")
    notifier.stopping("the end")
    told = [systemd.recv(1000).decode() for _ in range(3)]
    assert told == ["READY=1\nSTATUS=3 plugins", "STATUS=2 plugins", "STOPPING=1\nSTATUS=the end"]


def test_a_reload_is_told_with_the_time_on_the_monotonic_clock_in_microseconds(systemd: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    Notifier.from_environment().reloading()
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", systemd.recv(1000).decode())
    assert found
    assert before <= int(found[1]) <= time.monotonic_ns() // 1000


def test_the_socket_is_taken_out_of_the_environment(systemd: socket.socket) -> None:
    Notifier.from_environment()
    assert "NOTIFY_SOCKET" not in os.environ


def test_without_a_service_manager_nothing_is_told_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier.from_environment()
    notifier.ready("")
    notifier.reloading()
    notifier.stopping("")
    assert not caplog.records


def test_a_service_manager_that_is_gone_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier(str(tmp_path / "gone")).ready("")
    (record,) = caplog.records
    assert "gone" in record.getMessage()
