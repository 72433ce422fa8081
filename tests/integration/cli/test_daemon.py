"""``pluginexec daemon`` as a user runs it, with what other commands start and leave to the next.

Real: the commands, the private containerd that they start, its plugins, processes that watch or hang.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Containerd, Executor, PluginExecError, Remote
from pluginexec.daemon import private as embedded
from pluginexec.host import daemon
from pluginexec.host.host import Host
from pluginexec.host.records import Records, is_alive
from tests.support.embedded import own_address, running, short_root
from tests.support.harness import Exits, suspend, wait_until
from tests.support.layouts import one_directory
from tests.support.plugins import command_line, finished

Command = Callable[..., tuple[int, list[str], str]]
POLITE = "trap 'exit 7' TERM; while :; do sleep 0.05; done"


@pytest.fixture
def root(no_leaks: None) -> Iterator[Path]:
    with short_root() as root:
        yield root


@pytest.fixture
def pluginexec(root: Path) -> Command:
    return lambda *arguments: finished(command_line(root, own_address(root), *arguments))


@pytest.fixture
def run(pluginexec: Command, rootfs: Path, new_id: Callable[[], str]) -> Callable[..., str]:
    """Run a script in the background; return its id."""

    def run(script: str = POLITE, *options: str) -> str:
        id = new_id()
        code, printed, stderr = pluginexec(
            "run", "-d", "--name", id, *options, "--rootfs", rootfs, "--", "sh", "-c", f"touch /tmp/{id}; {script}"
        )
        assert (code, printed) == (0, [id]), stderr
        wait_until((rootfs / "tmp" / id).exists, "the plugin's first step")
        return id

    return run


def shims(root: Path) -> list[psutil.Process]:
    address = embedded.private_address(one_directory(root))
    processes = psutil.process_iter(["cmdline", "status"])
    return [each for each in processes if address in (each.info["cmdline"] or [])]


def test_status_where_none_runs_is_3_and_stop_says_so_and_is_0(pluginexec: Command, root: Path) -> None:
    code, (_, line), stderr = pluginexec("daemon", "status")
    assert (code, stderr) == (3, "")
    assert line.split() == ["stopped", "0", f"{root}/containerd/containerd.sock", f"{root}/containerd/containerd.log"]
    for option in ((), ("--all",)):
        said = f"pluginexec: no private containerd is running under {root}\n"
        assert pluginexec("daemon", "stop", *option) == (0, [], said)
    assert not list(root.iterdir())


def test_status_shows_what_runs_where_and_since_when(pluginexec: Command, root: Path, run: Callable[..., str]) -> None:
    run(), run()
    code, (line,), _ = pluginexec("daemon", "status", "--format", "json")
    (pid,) = running(root)
    status = json.loads(line)
    assert code == 0
    assert (status["state"], status["pid"], status["plugins"], status["watched_by"]) == ("running", pid, 2, None)
    assert status["address"] == embedded.private_address(one_directory(root))
    assert Path(status["log"]).stat().st_size
    assert status["version"]
    assert status["uptime_seconds"] >= 0
    assert status["started_at"].endswith("Z")
    assert pluginexec("daemon", "status", "--format", "{{.State}} {{.PID}}")[:2] == (0, [f"running {pid}"])


def test_stop_leaves_the_plugins_to_the_containerd_of_the_next_command(
    pluginexec: Command, root: Path, run: Callable[..., str]
) -> None:
    id = run()
    pid = Records(one_directory(root)).state(id).pid
    code, printed, stderr = pluginexec("daemon", "stop")
    assert (code, printed) == (0, [])
    assert stderr == f"pluginexec: stopped the private containerd under {root}; its plugins keep running\n"
    assert not running(root)
    assert is_alive(Records(one_directory(root)).state(id))
    assert pluginexec("daemon", "status", "--format", "{{.State}} {{.Plugins}}")[:2] == (3, ["stopped 1"])
    assert pluginexec("stop", id)[0] == 0
    assert (Records(one_directory(root)).state(id).pid, Records(one_directory(root)).state(id).exit_code) == (pid, 7)
    assert running(root)  # left by that command


def test_stop_all_ends_the_plugins_first_and_each_record_says_how(
    pluginexec: Command, root: Path, run: Callable[..., str], shell: Any, id: str, exits: Exits
) -> None:
    ids = [run(), run()]
    with Executor(root, Remote(embedded.private_address(one_directory(root))), exits, shared=True) as executor:
        executor.create(id, shell(id, "exec sleep 1000"))  # one without a record
        other = psutil.Process(executor.pid(id))
    code, printed, stderr = pluginexec("daemon", "stop", "--all")
    assert (code, printed) == (0, [])
    assert stderr == f"pluginexec: stopped the private containerd under {root} and its plugins\n"
    assert not running(root)
    wait_until(lambda: not shims(root), "the end of the shims")
    for id in ids:
        state = Records(one_directory(root)).state(id)
        assert (state.status, state.exit_code, Records(one_directory(root)).stopped(id)) == ("exited", 7, True)
    assert not other.is_running()


def test_stop_all_marks_all_plugins_as_stopped_before_it_ends_the_first(
    root: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [run(), run()]
    marked = []

    def stop(self: Host, id: str, timeout: float) -> None:
        marked.append([self.records.stopped(each) for each in ids])

    monkeypatch.setattr(Host, "stop", stop)
    assert daemon.stop(one_directory(root), plugins=True)
    assert marked == [[True, True]] * 2


def test_stop_all_also_ends_what_a_containerd_that_was_killed_has_left(
    pluginexec: Command, root: Path, run: Callable[..., str]
) -> None:
    id = run()
    (pid,) = running(root)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not running(root), "its end")
    assert pluginexec("daemon", "stop", "--all")[0] == 0
    assert Records(one_directory(root)).state(id).exit_code == 7
    assert not running(root)
    wait_until(lambda: not shims(root), "the end of the shims")


def test_one_that_another_process_watches_is_not_stopped(
    pluginexec: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Containerd((root / "containerd"), leave_tasks=True) as containerd:
        code, (line,), _ = pluginexec("daemon", "status", "--format", "json")
        assert (code, json.loads(line)["watched_by"]) == (0, os.getpid())
        code, printed, stderr = pluginexec("daemon", "stop")
        assert (code, printed) == (125, [])
        assert f"(pid {os.getpid()}) watches the private containerd" in stderr
        assert "stop that first: 'pluginexec serve'" in stderr
        assert stderr.count("\n") == 1
        assert running(root) == [containerd.pid]


def test_a_command_that_cannot_ask_it_leaves_it_and_its_plugins_alone(
    pluginexec: Command, root: Path, run: Callable[..., str], rootfs: Path, tmp_path: Path
) -> None:
    id = run()
    (pid,) = running(root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert pluginexec("run", "--rootfs", rootfs, "true")[0] == 125
    assert running(root) == [pid]
    assert pluginexec("ps", "--format", "{{.ID}} {{.State}}") == (0, [f"{id} running"], "")
    assert pluginexec("run", "--rm", "--rootfs", rootfs, "echo", "again") == (0, ["again"], "")
    assert running(root) == [pid]


def test_one_that_hangs_is_distinguished_from_one_that_runs_and_stop_ends_it(
    root: Path,
) -> None:
    embedded.ensure_private(one_directory(root))
    (pid,) = running(root)
    suspend(pid)
    silent = daemon.status(one_directory(root), timeout=0.5)
    assert (silent.state, silent.pid) == (daemon.SILENT, pid)
    assert daemon.stop(one_directory(root), plugins=False, timeout=0.5)
    assert not running(root)


def test_help_is_there_for_each_command_and_without_one(pluginexec: Command) -> None:
    code, text, _ = pluginexec("daemon")
    assert code == 0
    assert any(line.split()[:1] == ["stop"] for line in text)
    assert "exit code is 0 if it is running, 3 if it is not, and 4" in " ".join(
        pluginexec("daemon", "status", "--help")[1]
    )
    with pytest.raises(PluginExecError, match="at most"):
        daemon.status(one_directory(Path("/tmp") / ("x" * 100)))
