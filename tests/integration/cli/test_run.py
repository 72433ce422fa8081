"""``pluginexec run`` in the foreground, as a user runs it.

Real: the console script, containerd (the tests' own, and the private one that the command starts), the plugins, the
signals.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Containerd
from pluginexec.host.records import Records
from tests.integration.cli.conftest import Px, Spawn, finish
from tests.support.containers import slow_hook
from tests.support.embedded import own_address
from tests.support.harness import PATIENCE, wait_until
from tests.support.layouts import one_directory
from tests.support.probe import environment

TICK = "while :; do sleep 0.05; done"
Run = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def run(start: Spawn, rootfs: Path) -> Run:
    """Start ``pluginexec run`` of a shell script."""
    return lambda script, *options: start("run", *options, "--rootfs", rootfs, "--", "sh", "-c", script)


def ends(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    done = finish(process)
    return done.code, done.out, done.err


def test_the_streams_are_passed_on_untouched_and_the_exit_code_too(run: Run) -> None:
    script = r"printf 'out\0\377\n\nx'; printf 'err\r\n\0' >&2; exit 42"
    assert ends(run(script)) == (42, b"out\0\xff\n\nx", b"err\r\n\0")


def test_success_is_0_and_silent(run: Run) -> None:
    assert ends(run("true")) == (0, b"", b"")


def test_a_plugin_that_died_of_a_signal_gives_128_more(run: Run) -> None:
    assert ends(run("sh -c 'kill -KILL $$'; exit $?"))[0] == 137


def test_a_bundle_runs(px: Px, tmp_path: Path, id: str, shell: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(shell(id, "echo bundle; exit 5")))
    done = px("run", "--name", id, tmp_path)
    assert (done.code, done.out, done.err) == (5, b"bundle\n", b"")


def test_a_slow_hook_has_as_long_as_the_option_says_which_the_error_names_and_no_cgroup_is_left(
    spawn: Spawn, globals: list[str], tmp_path: Path, id: str, shell: Any
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(slow_hook(shell(id, "exit 5"), tmp_path)))
    done = finish(spawn(*globals, "--timeout", 4, "run", "--name", id, tmp_path))
    assert done.code == 125
    assert b"gave no answer within 4 s" in done.err
    assert b"'pluginexec --timeout'" in done.err
    wait_until(lambda: not list(Path("/sys/fs/cgroup").glob(f"**/pluginexec/{id}")), "the removal of its cgroups")
    # One that takes its time, but comes to its end.
    (tmp_path / "hook").write_text("#!/bin/sh\nsleep 1\n")
    variables = environment() | {"PLUGINEXEC_TIMEOUT": "60"}
    assert finish(spawn(*globals, "run", "--name", id, tmp_path, env=variables)).code == 5


def test_a_file_in_no_known_format_ends_as_the_page_says(px: Px, rootfs: Path, tmp_path: Path, id: str) -> None:
    script = tmp_path / "script"
    script.write_text("echo no interpreter named\n")
    script.chmod(0o755)
    done = px("run", "--rm", "--name", id, "-v", f"{script}:/script", "--rootfs", rootfs, "/script")
    assert done.code in (1, 255)
    assert b"exec /script: exec format error" in done.err


@pytest.mark.parametrize("name", ["INT", "TERM", "QUIT", "USR1", "WINCH", "RTMAX"])
def test_a_signal_goes_to_the_plugin(run: Run, name: str) -> None:
    process = run(f"trap 'echo got it; exit 9' {signal.Signals[f'SIG{name}']:d}; echo ready; {TICK}")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert ends(process) == (9, b"got it\n", b"")


def test_the_third_signal_kills_a_plugin_that_ignores_them(run: Run) -> None:
    process = run(f"trap 'echo no' INT; echo ready; {TICK}")
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"no\n"
    process.send_signal(signal.SIGINT)
    assert ends(process)[0] == 137


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [],
            b"run: expected an image, a bundle directory such as ./BUNDLE, or --rootfs DIR and a command; see",
        ),
        (["One"], b"'One' is not the name of an image: it must be in lowercase"),
        (["./one", "two"], b"'one'"),
        (["--entrypoint", "x", "/", "two"], b"--entrypoint is for images"),
        (["--rootfs", "/"], b"run: missing the command"),
        (["--no-such-option"], b"run: no such option: --no-such-option"),
        (["/no/such/bundle"], b"'/no/such/bundle'"),
        (["--name", "a b", "--rootfs", "/", "true"], b"id 'a b' is not allowed"),
        (["--rootfs", "/no/such/rootfs", "true"], b"'/no/such/rootfs'"),
        (["--restart", "always", "--rootfs", "/", "true"], b"--restart needs --detach"),
        (["-d", "--rm", "--restart", "always", "--rootfs", "/", "true"], b"--rm conflicts with --restart"),
        (["-d", "--restart", "often", "--rootfs", "/", "true"], b"restart policy 'often' is not known"),
        (["--log-driver", "syslog", "--rootfs", "/", "true"], b"'syslog'"),
        (["--log-opt", "max-size=much", "--rootfs", "/", "true"], b"max-size=much"),
        (["--log-opt", "size", "--rootfs", "/", "true"], b"invalid --log-opt 'size': use KEY=VALUE"),
        (["--log-driver", "raw", "--log-opt", "max-file=1", "--rootfs", "/", "true"], b"log driver raw has no options"),
        (["--stop-signal", "SIGNOT", "--rootfs", "/", "true"], b"invalid signal 'SIGNOT'"),
    ],
)
def test_an_error_of_ours_is_125_in_one_line_and_leaves_nothing(
    px: Px, root_dir: Path, arguments: list[str], said: bytes
) -> None:
    done = px("run", *arguments)
    assert (done.code, done.out) == (125, b"")
    assert said in done.err
    assert done.err.count(b"\n") == 1
    assert not list(root_dir.iterdir())


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_ends_the_plugin_in_silence(run: Run, px: Px, stream: str) -> None:
    process = run(f"exec >&{1 if stream == 'stdout' else 2}; while :; do echo more; done", "--name", "piped")
    pipe = getattr(process, stream)
    assert pipe.readline() == b"more\n"
    pipe.close()
    assert process.wait(PATIENCE) == 141
    other = process.stdout if stream == "stderr" else process.stderr
    assert other
    assert other.read() == b""
    assert px("ps", "-a", "--format", "{{.ID}} {{.State}} {{.ExitCode}}").lines == ["piped exited 137"]


def test_it_is_listed_and_logged_like_any_other_and_gone_with_rm(run: Run, px: Px, root_dir: Path) -> None:
    process = run(f"echo up; trap 'exit 3' TERM; {TICK}", "--name", "kept")
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    assert px("ps", "--format", "{{.ID}} {{.State}}").lines == ["kept running"]
    assert px("logs", "kept").lines == ["up"]
    assert px("stop", "kept").code == 0
    assert ends(process) == (3, b"", b"")
    assert px("ps", "-a", "--format", "{{.ID}} {{.State}} {{.ExitCode}}").lines == ["kept exited 3"]
    assert ends(run("echo x", "--rm")) == (0, b"x\n", b"")
    assert Records(one_directory(root_dir)).ids() == ["kept"]


def test_a_signal_before_the_plugin_runs_ends_the_command_and_leaves_nothing(
    spawn: Spawn, rootfs: Path, tmp_path: Path, short_root: Path
) -> None:
    slow = tmp_path / "containerd"
    slow.write_text("#!/bin/sh\necho started >&2\nexec sleep 1000\n")
    slow.chmod(0o755)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        env = environment(PATH=f"{tmp_path}:{os.environ['PATH']}", CONTAINERD_ADDRESS=own_address(short_root))
        process = spawn("--root", short_root, "run", "--rootfs", rootfs, "true", env=env)
        command = psutil.Process(process.pid)
        wait_until(partial(command.children, recursive=True), "the slow containerd")
        children = command.children(recursive=True)
        process.send_signal(number)
        assert ends(process) == (128 + number, b"", b"")
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert Records(one_directory(short_root)).ids() == []


def test_a_line_as_for_docker_means_what_it_means_there_on_the_containerd_of_the_environment(
    spawn: Spawn, containerd: Containerd, rootfs: Path, root_dir: Path, id: str, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\n")
    options = f"""-d --name {id} -e A=flag --env-file {tmp_path}/env -v {tmp_path}:/v:ro
        --mount type=tmpfs,target=/t,tmpfs-size=1m -w /v -u 0:1000 --hostname web --memory 64m --cpus 0.5
        --pids-limit 20 --cap-drop ALL --cap-add CHOWN --read-only --net host --label a=b --restart unless-stopped"""
    script = """echo $A $B; pwd; id -g; hostname; touch x 2>&1; touch /x 2>&1; : >/t/x && grep CapBnd /proc/self/status
        sleep 1000"""
    env = environment(CONTAINERD_ADDRESS=containerd.address, PLUGINEXEC_ROOT=str(root_dir))
    done = finish(spawn("run", *options.split(), "--rootfs", rootfs, "--", "sh", "-c", script, env=env))
    assert (done.code, done.lines) == (0, [id])
    assert b"(unless-stopped) only while" in done.err
    wait_until(lambda: len(finish(spawn("logs", id, env=env)).lines) == 7, "its output")
    refused = ["touch: x: Read-only file system", "touch: /x: Read-only file system"]
    chown = "CapBnd:\t0000000000000001"
    assert finish(spawn("logs", id, env=env)).lines == ["flag file", "/v", "1000", "web", *refused, chown]
    document = json.loads(finish(spawn("inspect", id, env=env)).out)
    assert (document["address"], document["labels"]) == (containerd.address, {"a": "b"})
    resources = document["spec"]["linux"]["resources"]
    assert (resources["memory"]["limit"], resources["pids"]["limit"]) == (64 << 20, 20)
    assert resources["cpu"]["quota"] * 2 == resources["cpu"]["period"]
    assert not [each for each in document["spec"]["linux"]["namespaces"] if each["type"] == "network"]
    assert finish(spawn("rm", "-f", id, env=env)).code == 0


def test_where_no_containerd_runs_a_private_one_is_started_once_and_left_to_the_next(
    spawn: Spawn, rootfs: Path, short_root: Path
) -> None:
    env = environment(CONTAINERD_ADDRESS=own_address(short_root))
    command = ("--root", short_root, "run", "--rootfs", rootfs, "--", "sh", "-c", "echo hello; exit 4")
    processes = [spawn(*command, env=env) for _ in range(3)]
    shown = b""
    for process in processes:
        code, out, err = ends(process)
        assert (code, out) == (4, b"hello\n")
        shown += err
    assert shown.count(b"\n") == 1
    assert f"a private containerd runs at {short_root}/containerd".encode() in shown
    assert ends(spawn(*command, env=env)) == (4, b"hello\n", b"")
    pids = [each.pid for each in psutil.process_iter(["cmdline"]) if is_containerd(each, short_root)]
    assert len(pids) == 1


def is_containerd(process: psutil.Process, root: Path) -> bool:
    words = process.info["cmdline"] or []
    return words[-2:] == ["--config", f"{root}/containerd/config.toml"]
