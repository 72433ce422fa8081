"""An executor of a program and the command line on one state directory: each sees what the other started.

Real: the console script, an executor of this process, containerd and plugins.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Containerd, Executor, NotFound
from tests.integration.cli.conftest import Px, Spawn, finish
from tests.support.harness import PATIENCE, catches, wait_until

TICK = "trap 'exit 7' TERM; while :; do sleep 0.02; done"


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory that is not the root."""
    return tmp_path / "state"


@pytest.fixture
def globals(containerd: Containerd, root_dir: Path, state_dir: Path) -> list[str]:
    """What is said before the command."""
    return ["--root", str(root_dir), "--state", str(state_dir), "--address", containerd.address]


@pytest.fixture
def program(containerd: Containerd, state_dir: Path, clean_namespace: None) -> Iterator[Executor]:
    """An executor on the state directory that the command line has here."""
    with Executor(state_dir, containerd.remote, shared=True) as executor:
        yield executor


@pytest.fixture(params=["relayed", "discarded"])
def started(program: Executor, shell: Any, id: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A plugin that the program started: it has its output, or nothing has."""
    stream = (tmp_path / "out").open("wb") if request.param == "relayed" else None
    program.create(id, shell(id, TICK), stream, stream)
    pid = program.pid(id)
    wait_until(lambda: catches(pid, signal.SIGTERM), "its trap")  # before, the first process of a container ignores it
    return id


def test_commands_see_what_a_program_started_and_say_who_has_its_output(px: Px, started: str) -> None:
    row = json.loads(px("ps", "--format", "json").out)
    assert (row["id"], row["state"], row["namespace"]) == (started, "running", "plugins.moby")
    assert row["command"].startswith("sh -c ")
    assert px("ps", "-aq").lines == [started]
    assert px("inspect", "--format", "{{.State}} {{json .Spec.process.args}}", started).lines[0].startswith("running [")
    assert px("stats", "--no-stream", "--format", "{{.ID}}").lines == [started]
    assert px("exec", started[:-1], "echo", "inside").lines == ["inside"]
    assert px("start", started).lines == [started]
    assert px("restore").lines == [f"{started} running"]
    for command in ("logs", "attach"):
        done = px(command, started)
        assert (done.code, done.out) == (125, b"")
        assert b"started it with an executor, and has its output; hint: read it there" in done.err
    assert b"it is running; hint: stop it first, or use 'rm -f'" in px("rm", started).err
    assert px("pause", started).code == 0
    assert px("ps", "--format", "{{.State}}").lines == ["paused"]
    assert px("unpause", started).code == 0


@pytest.mark.parametrize(
    ("command", "code"), [(["stop"], 7), (["kill", "-s", "TERM"], 7), (["kill"], 137), (["rm", "-f"], 137)]
)
def test_commands_end_what_a_program_started_and_leave_its_exit_to_it(
    px: Px, program: Executor, started: str, command: list[str], code: int
) -> None:
    assert px(*command, started).lines == [started]
    assert program.wait(started, PATIENCE).exit_code == code
    assert px("ps", "-aq").lines == []


def test_wait_has_the_code_of_a_programs_plugin(start: Spawn, program: Executor, started: str) -> None:
    process = start("wait", started)
    program.signal(started, signal.SIGTERM)
    done = finish(process)
    assert (done.out, done.err) == (b"7\n", b"")


@pytest.mark.parametrize("command", ["stop", "logs", "wait", "rm"])
def test_what_a_program_left_behind_gets_a_record(
    px: Px, containerd: Containerd, state_dir: Path, shell: Any, id: str, command: str, clean_namespace: None
) -> None:
    with Executor(state_dir, containerd.remote, shared=True) as executor:
        executor.create(id, shell(id, TICK))
    if command != "stop":
        assert px("kill", "-s", "TERM", id).lines == [id]
        assert px("wait", id).lines == ["7"]
    done = px(command, id)
    assert (done.code, done.out.decode().split()) == (0, {"logs": [], "wait": ["7"]}.get(command, [id])), done.err
    left = px("ps", "-a", "--format", "{{.ID}} {{.ExitCode}}").lines
    assert left == ([] if command == "rm" else [f"{id} 7"])


def test_a_program_takes_over_what_the_command_line_started(
    px: Px, detached: Callable[..., str], program: Executor
) -> None:
    id = detached(TICK)
    with pytest.raises(NotFound):
        program.is_running(id)
    assert program.restore(id)
    assert program.is_running(id)
    assert px("ps", "-q").lines == [id]
    assert program.stop(id, PATIENCE).exit_code == 7
    wait_until(lambda: px("ps", "-a", "--format", "{{.State}} {{.ExitCode}}").lines == ["exited 7"], "its record")
    assert px("rm", id).lines == [id]
