"""Bad input, and a machine that is not ready: one clear error of the right class, and nothing left behind.

Real: containerd, ctr, runc, the file system, sockets that are missing, refuse, or are not permitted.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import (
    Executor,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    PluginExecError,
    Remote,
    Unavailable,
)
from pluginexec.containerd.client import Client
from tests.support.harness import Buffer

Shell = Callable[..., dict[str, Any]]
NewExecutor = Callable[..., Executor]

BAD_IDS = ["", "x" * 77, "../x", "-rf", "a b", "a\n", "$(touch x)", "a;b", "`x`", "é", "a/b", ".", "h", "help", "a--b"]


@pytest.fixture(autouse=True)
def nothing_is_left(root_dir: Path) -> Iterator[None]:
    """See that the root holds no more than an executor makes by itself."""
    yield
    left = [path for path in root_dir.rglob("*") if path.name not in ("lock", "containers", "runtime-root")]
    assert not [path for path in left if "runtime-root" not in path.parts or path.is_file()]


def assert_clear(error: PluginExecError) -> None:
    message = str(error)
    assert "\n" not in message
    assert message[0] == message[0].lower()
    assert "Traceback" not in message


@pytest.mark.parametrize("bad", BAD_IDS)
def test_an_id_that_containerd_would_refuse_is_refused_before_anything_is_run(
    executor: Executor, shell: Shell, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor._client, "run", pytest.fail)
    spec = shell("x", "exit 0")
    for call in (
        lambda: executor.create(bad, spec),
        lambda: executor.restore(bad),
        lambda: executor.is_running(bad),
        lambda: executor.signal(bad, 9),
        lambda: executor.stop(bad),
        lambda: executor.wait(bad),
        lambda: executor.exit_status(bad),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert_clear(caught.value)


def change(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    inner = spec
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("root", {}, "root.path"),
        ("root.path", "/no/such/directory", "/no/such/directory"),
        ("process.args", [], "process.args"),
        ("process.args", ["/no/such/executable"], "/no/such/executable"),
        ("process.args", ["no-such-executable"], "no-such-executable"),
        ("process.args", ["/etc/passwd"], "permission denied"),
        ("process.cwd", "relative", "process.cwd"),
        ("ociVersion", "", "ociVersion"),
    ],
)
def test_a_spec_that_cannot_run_names_what_is_wrong(
    executor: Executor, id: str, shell: Shell, client: Client, path: str, value: Any, named: str
) -> None:
    stdout = Buffer()
    with pytest.raises(InvalidArgument, match=named) as caught:
        executor.create(id, change(shell(id, "exit 0"), path, value), stdout)
    assert_clear(caught.value)
    assert (caught.value.operation, caught.value.id) == ("create", id)
    assert client.containers() == []
    assert not executor._root.plugin(id).directory.exists()
    assert stdout.closings == 0


def test_a_spec_that_is_not_json_names_the_file(executor: Executor, id: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidArgument, match=r"config\.json"):
        executor.create(id, tmp_path)


def test_a_bundle_directory_and_its_file_both_run(
    executor: Executor, new_id: Callable[[], str], shell: Shell, tmp_path: Path
) -> None:
    first, second = new_id(), new_id()
    (tmp_path / "config.json").write_text(json.dumps(shell(first, "exit 8")))
    executor.create(first, tmp_path)
    assert executor.wait(first, timeout=30).exit_code == 8
    executor.create(second, str(tmp_path / "config.json"))
    assert executor.wait(second, timeout=30).exit_code == 8
    for id in (first, second):
        executor._root.plugin(id).remove()


@pytest.mark.parametrize("sink", [7, "/no/such/directory/log", open(os.devnull, "w"), object()])  # noqa: SIM115
def test_a_sink_that_takes_no_bytes_is_refused(
    executor: Executor, id: str, shell: Shell, client: Client, sink: Any
) -> None:
    with pytest.raises(InvalidArgument):
        executor.create(id, shell(id, "exit 0"), None, sink)
    assert client.containers() == []


def test_a_socket_that_is_missing_is_unavailable(
    new_executor: NewExecutor, tmp_path: Path, id: str, shell: Shell
) -> None:
    executor = new_executor(remote=Remote(str(tmp_path / "none")))
    with pytest.raises(Unavailable) as caught:
        executor.create(id, shell(id, "exit 0"), Buffer())
    assert_clear(caught.value)
    assert caught.value.hint
    with pytest.raises(Unavailable):
        executor.restore(id)


def test_a_socket_that_refuses_is_unavailable(new_executor: NewExecutor, tmp_path: Path, id: str, shell: Shell) -> None:
    path = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(Unavailable):
        new_executor(remote=Remote(str(path))).create(id, shell(id, "exit 0"), Buffer())


def test_a_socket_that_is_not_permitted_is_permission_denied(rootfs: Path, remote: Remote, tmp_path: Path) -> None:
    script = """
        import os, sys, tempfile
        from pluginexec import Executor, PermissionDenied, Remote, default_spec
        os.setgid(65534)
        os.setuid(65534)
        with tempfile.TemporaryDirectory() as root, Executor(root, Remote(sys.argv[1])) as executor:
            try:
                executor.create("x", default_spec(sys.argv[2], ["true"], id="x"))
            except PermissionDenied as error:
                assert error.hint
                assert not os.listdir(root + "/containers")
                print("denied")
    """
    rootfs.chmod(0o755)
    argv = [sys.executable, "-c", textwrap.dedent(script), remote.address, str(rootfs)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=readable_environment())
    assert done.stdout == "denied\n", done.stderr


def readable_environment() -> dict[str, str]:
    # What another user can read of ours: the interpreter may stand in root's home.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}


@pytest.mark.parametrize("mode", [None, 0o644], ids=["missing", "not executable"])
def test_a_ctr_that_cannot_be_run_is_a_failed_precondition(
    new_executor: NewExecutor, tmp_path: Path, remote: Remote, id: str, shell: Shell, mode: int | None
) -> None:
    ctr = tmp_path / "ctr"
    if mode is not None:
        ctr.write_text("#!/bin/sh\n")
        ctr.chmod(mode)
    executor = new_executor(remote=Remote(remote.address, ctr=str(ctr)))
    with pytest.raises(FailedPrecondition, match=str(ctr)) as caught:
        executor.create(id, shell(id, "exit 0"), Buffer())
    assert_clear(caught.value)
    assert "install" in str(caught.value.hint)


def test_a_runtime_that_is_missing_is_a_failed_precondition(
    new_executor: NewExecutor, remote: Remote, id: str, shell: Shell, client: Client
) -> None:
    executor = new_executor(remote=Remote(remote.address, runtime="/no/such/runc"))
    with pytest.raises(FailedPrecondition, match="/no/such/runc") as caught:
        executor.create(id, shell(id, "exit 0"), Buffer())
    assert_clear(caught.value)
    assert client.containers() == []
    assert client.tasks() == {}


def test_a_root_that_cannot_be_one_is_refused(remote: Remote, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for root, kind in ((file, InvalidArgument), (file / "below", InvalidArgument), ("", InvalidArgument)):
        with pytest.raises(kind) as caught:
            Executor(root, remote)
        assert_clear(caught.value)
    with pytest.raises(PluginExecError):
        Executor("/proc/pluginexec", remote)
    assert issubclass(PermissionDenied, PluginExecError)


@pytest.mark.parametrize("name", ["pluginexec-watch", "pluginexec-events"])
def test_an_executor_that_gets_no_thread_gives_the_root_back(
    new_executor: NewExecutor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Unavailable, match="out of threads"):
        new_executor()
    monkeypatch.undo()
    new_executor()
