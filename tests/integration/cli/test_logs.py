"""``pluginexec logs``. Real: the console script, containerd, plugins in the background and their loggers."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Px, Spawn, finish
from tests.support.harness import PATIENCE, wait_until
from tests.support.probe import environment

Detached = Callable[..., str]
BOTH = r"echo one; sleep 0.05; echo two >&2; sleep 0.05; echo three; printf 'no end'"
WAITS = "trap 'printf last; exit 3' TERM; echo up; while :; do sleep 0.02; done"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "


def wait_for(px: Px, id: str) -> None:
    assert px("wait", id).code == 0


@pytest.mark.parametrize("driver", ["json-file", "raw"])
def test_each_stream_goes_to_its_own_and_the_last_line_comes_though_it_has_no_end(
    px: Px, detached: Detached, driver: str
) -> None:
    id = detached(BOTH, "--log-driver", driver)
    wait_for(px, id)
    done = px("logs", id)
    assert (done.code, done.out, done.err) == (0, b"one\nthree\nno end", b"two\n")
    done = px("logs", "--stderr", id)
    assert (done.out, done.err) == (b"", b"two\n")
    done = px("logs", "--stdout", "-n", "2", id)
    assert (done.out, done.err) == (b"three\nno end", b"")


@pytest.mark.parametrize("driver", ["json-file", "raw"])
def test_what_the_runtime_says_of_a_start_that_fails_is_no_line_of_the_plugins(
    px: Px, rootfs: Path, tmp_path: Path, new_id: Callable[[], str], driver: str
) -> None:
    id, script = new_id(), tmp_path / "script"
    script.write_text("#!/bin/sh\necho said >&2\n")
    options = ("--log-driver", driver, "-v", f"{script}:/script", "--rootfs", rootfs)
    assert px("create", "--name", id, *options, "/script").code == 0
    assert px("start", id).code == 126
    assert px("logs", id).err == b""
    script.chmod(0o755)
    assert px("start", id).code == 0
    wait_for(px, id)
    script.chmod(0o644)
    assert px("start", id).code == 126
    assert px("logs", id).err == b"said\n"


def test_the_order_of_both_is_kept_where_they_lead_to_one_place_and_times_come_before_lines(
    px: Px, detached: Detached
) -> None:
    id = detached(BOTH)
    wait_for(px, id)
    one_place = {"stderr": subprocess.STDOUT, "env": environment(PYTHONUNBUFFERED="")}
    done = px("logs", "-t", id, **one_place)
    assert re.fullmatch(f"{TIME}one\n{TIME}two\n{TIME}three\n{TIME}no end".encode(), done.out)
    since = done.out.decode().splitlines()[1].split()[0]
    assert px("logs", "--since", since, id, **one_place).out == b"two\nthree\nno end"
    assert px("logs", "--until", since, "--stdout", id).out == b"one\n"
    assert px("logs", "--since", "0s", id).out == b""
    in_seconds = f"{datetime.fromisoformat(since[:19] + '+00:00').timestamp():.0f}{since[19:-1]}"
    assert px("logs", "--since", in_seconds, id, **one_place).out == b"two\nthree\nno end"


def test_following_ends_when_the_plugin_has_ended_and_all_is_shown(
    px: Px, start: Spawn, detached: Detached, root_dir: Path
) -> None:
    id = detached(f"head -c 100000 /dev/zero | tr '\\0' x; {WAITS}")
    process = start("logs", "-f", id)
    assert process.stdout
    assert process.stdout.read(100_003) == b"x" * 100_000 + b"up\n"
    assert px("kill", "-s", "TERM", id).code == 0  # only the follower waits for its end
    done = finish(process)
    assert (done.code, done.out, done.err) == (0, b"last", b"")
    assert px("logs", "-f", id, "-n", "1").out == b"last"


def test_the_last_output_of_one_that_has_ended_is_shown_before_it_is_reconciled(px: Px, detached: Detached) -> None:
    id = detached("printf last")
    wait_until(lambda: px("logs", id).out == b"last", "its last output")


def test_following_shows_the_last_output_of_one_that_is_removed_when_it_ends(start: Spawn, detached: Detached) -> None:
    id = detached(WAITS, "--rm")
    process = start("logs", "-f", id)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    assert finish(start("stop", id)).code == 0
    done = finish(process)
    assert (done.code, done.out, done.err) == (0, b"last", b"")


def test_rotation_while_following_loses_nothing(start: Spawn, detached: Detached) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"
    id = detached(script, "--log-opt", "max-size=20k", "--log-opt", "max-file=50")
    done = finish(start("logs", "-f", id))
    assert done.out == b"".join(b"%d\n" % number for number in range(3000))


def test_ctrl_c_while_following_is_130_and_a_reader_that_goes_away_makes_no_noise(
    start: Spawn, detached: Detached
) -> None:
    id = detached("while :; do echo x; sleep 0.01; done")
    process = start("logs", "-f", id)
    assert process.stdout
    assert process.stdout.readline() == b"x\n"
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert (done.code, done.err) == (130, b"")
    process = start("logs", "-f", id)
    assert process.stdout
    assert process.stdout.readline() == b"x\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == 141
    assert process.stderr
    assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("driver", "cases"),
    [
        (
            "json-file",
            {
                "-n some": b"'some' is neither a number",
                "--since yesterday": b"not a time: 'yesterday'; hint: give",
            },
        ),
        ("raw", {"-t": b"has no times; hint: choose --log-driver json-file", "--until 1s": b"no times"}),
        ("none", {"": b"its log driver 'none' keeps no log; hint: choose another"}),
    ],
)
def test_what_cannot_be_shown_is_one_line_that_says_why(
    px: Px, rootfs: Path, id: str, driver: str, cases: dict[str, bytes]
) -> None:
    assert px("create", "--name", id, "--log-driver", driver, "--rootfs", rootfs, "--", "true").code == 0
    for arguments, said in cases.items():
        done = px("logs", *arguments.split(), id)
        assert (done.code, done.out) == (125, b"")
        assert said in done.err
        assert done.err.count(b"\n") == 1


def test_one_that_was_never_started_has_an_empty_log_and_one_that_is_not_there_is_an_error(
    px: Px, rootfs: Path, id: str
) -> None:
    assert px("create", "--name", id, "--rootfs", rootfs, "--", "true").code == 0
    for flags in ([], ["-f"]):
        done = px("logs", *flags, id)
        assert (done.code, done.out, done.err) == (0, b"", b"")
    done = px("logs", "nobody")
    assert done.code == 125
    assert b"no such plugin: 'nobody'" in done.err
