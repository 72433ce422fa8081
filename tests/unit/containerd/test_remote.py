"""Where containerd listens, and what it looks like when it does not.

Real: sockets, permissions, the installed ``ctr``, and a containerd that an unprivileged user may not reach.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pluginexec import InvalidArgument, PluginExecError, Remote
from pluginexec.containerd.remote import DEFAULT_ADDRESS, LONGEST_TIMEOUT
from tests.support.fakes import fake_command
from tests.support.hostile import HUGE


@pytest.mark.parametrize(
    ("value", "address"),
    [
        pytest.param(None, DEFAULT_ADDRESS, id="unset"),
        pytest.param("", DEFAULT_ADDRESS, id="empty"),
        pytest.param("/x/s", "/x/s", id="set"),
    ],
)
def test_the_address_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str | None, address: str
) -> None:
    monkeypatch.delenv("CONTAINERD_ADDRESS", raising=False)
    if value is not None:
        monkeypatch.setenv("CONTAINERD_ADDRESS", value)
    assert Remote().address == address
    assert Remote("/given").address == "/given"


def test_a_relative_address_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTAINERD_ADDRESS", "./x.sock")
    assert Remote().address == Remote("x.sock").address == f"{tmp_path}/x.sock"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InvalidArgument, match="relative to a directory that is gone"):
        Remote("x.sock")
    assert Remote("/x.sock").address == "/x.sock"


def test_an_address_of_nonsense_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINERD_ADDRESS", "unix:///run/containerd/containerd.sock")
    with pytest.raises(InvalidArgument, match="bare path"):
        Remote()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"address": ""}, id="empty-address"),
        pytest.param({"address": "/a\0b"}, id="nul-in-address"),
        pytest.param({"address": "unix:///a"}, id="scheme"),
        pytest.param({"address": b"/a"}, id="bytes-as-address"),
        pytest.param({"address": Path("/a")}, id="path-object-as-address"),
        pytest.param({"address": HUGE}, id="huge-number-as-address"),
        pytest.param({"ctr": 5}, id="number-as-ctr"),
        pytest.param({"runtime": b"runc"}, id="bytes-as-runtime"),
        pytest.param({"timeout": "5"}, id="text-as-time"),
        pytest.param({"timeout": None}, id="time-none"),
        pytest.param({"timeout": HUGE}, id="huge-time"),
        pytest.param({"timeout": 0}, id="no-time"),
        pytest.param({"timeout": -1.0}, id="negative-time"),
        pytest.param({"timeout": float("nan")}, id="time-that-is-no-number"),
        pytest.param({"timeout": float("inf")}, id="time-without-end"),
        pytest.param({"timeout": LONGEST_TIMEOUT * 1.01}, id="too-long-for-poll"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Remote(**{"address": "/s", **arguments})


def test_the_longest_timeout_works(tmp_path: Path) -> None:
    ctr = fake_command(tmp_path / "ctr", r"printf 'Server:\n  Version: 1\n'")
    assert Remote("/s", ctr=ctr, timeout=LONGEST_TIMEOUT).new_client("n").server_version() == "1"


def test_remotes_of_the_same_settings_are_equal() -> None:
    assert Remote("/s") == Remote("/s")
    assert Remote("/s") != Remote("/s", runtime="crun")


@pytest.mark.parametrize("namespace", ["", "../x", "a b", "-n", "a" * 77, "é"])
def test_a_namespace_that_containerd_refuses_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidArgument, match="namespace"):
        Remote("/s").new_client(namespace)


def test_nothing_runs_before_the_first_operation() -> None:
    Remote("/no/such/socket", ctr="/no/such/ctr").new_client("n")


def test_an_address_that_no_system_call_takes_is_told_by_the_first_operation() -> None:
    remote = Remote("/\ud800")
    assert remote.listens()
    with pytest.raises(PluginExecError):
        remote.new_client("n").tasks()
