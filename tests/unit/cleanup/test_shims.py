"""Shims without a task. Real: the process, its program, command line and directory; no containerd.

With a real containerd they come from its SIGKILL in the right moment: see the soak.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec.cleanup import shims as leakedshim
from pluginexec.cleanup.shims import end_shim, find_shims
from pluginexec.linux.pidfd import start_seconds
from tests.support.harness import wait_until

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bundle of a container."""
    bundle = tmp_path / "io.containerd.runtime.v2.task" / "n" / "x"
    bundle.mkdir(parents=True)
    (bundle / "runtime").write_text("io.containerd.runc.v2")
    return bundle


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program with the name of a shim, which is a shell."""
    return Path(shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "containerd-shim-runc-v2"))


@pytest.fixture
def start(bundle: Path, program: Path) -> Iterator[Start]:
    """Start processes that look like a shim; all are ended."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*line: str, executable: Path = program) -> subprocess.Popen[bytes]:
        shown = ["/usr/bin/containerd-shim-runc-v2", "-c", "echo; read x", *line]
        processes.append(
            subprocess.Popen(shown, executable=executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=bundle)
        )
        stdout = processes[-1].stdout
        assert stdout
        assert stdout.readline() == b"\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_shim_of_the_id_is_killed_and_its_cleaning_waited_for(start: Start, bundle: Path) -> None:
    shim = start("-namespace", "n", "-id", "x", "-address", "a")
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(end_shim("x", "n", "a")), name="pluginexec-test-end")
    thread.start()
    assert shim.wait() == -9
    assert not ended
    shutil.rmtree(bundle)  # as containerd does
    wait_until(lambda: ended == [True], "the end of the wait")


def test_what_containerd_does_not_clean_up_we_do(start: Start, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakedshim, "_CLEANED_WITHIN", 0.1)
    start("-namespace", "n", "-id", "x", "-address", "a")
    assert end_shim("x", "n", "a")
    assert not bundle.exists()


@pytest.mark.parametrize("is_older", [True, False])
def test_a_shim_that_is_younger_than_the_deletion_is_another_plugins(
    start: Start, bundle: Path, is_older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leakedshim, "_ENDS_WITHIN", 0.0)
    monkeypatch.setattr(leakedshim, "_CLEANED_WITHIN", 0.1)
    shim = start("-namespace", "n", "-id", "x", "-address", "a")
    started = start_seconds(shim.pid)
    assert started
    assert end_shim("x", "n", "a", started_before=started + (1 if is_older else 0)) is is_older
    assert (shim.poll() is None) is not is_older


def test_a_shim_that_ends_by_itself_is_not_killed(start: Start, bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    shim = start("-namespace", "n", "-id", "x", "-address", "a")
    ended: list[bool] = []
    thread = threading.Thread(
        target=lambda: ended.append(end_shim("x", "n", "a", started_before=math.inf)), name="pluginexec-test-end"
    )
    thread.start()
    shim.communicate(b"\n")
    thread.join()
    assert (shim.returncode, ended) == (0, [False])
    assert "is killed" not in caplog.text


def test_a_directory_that_is_no_bundle_is_left_alone(start: Start, tmp_path: Path, bundle: Path) -> None:
    bundle.rename(elsewhere := tmp_path / "x")
    (elsewhere / "runtime").unlink()
    bundle.symlink_to(elsewhere)  # what the process is in is then the place itself
    start("-namespace", "n", "-id", "x", "-address", "a")
    assert end_shim("x", "n", "a")
    assert elsewhere.exists()


def test_one_whose_program_was_replaced_by_an_upgrade_is_still_found(start: Start, program: Path) -> None:
    shim = start("-namespace", "n", "-id", "x", "-address", "a")
    program.unlink()
    assert [each.pid for each in find_shims("a")] == [shim.pid]


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (["-namespace", "n", "-id", "y", "-address", "a"], None),
        (["-namespace", "m", "-id", "x", "-address", "a"], None),
        (["-namespace", "n", "-id", "x", "-address", "b"], None),
        (["-namespace", "n", "-id", "x", "-address", "a"], Path("/bin/sh")),
    ],
    ids=["another id", "another namespace", "another containerd", "another program"],
)
def test_any_other_process_is_left_alone(start: Start, line: list[str], other: Path | None) -> None:
    process = start(*line, **({"executable": other} if other else {}))
    assert not end_shim("x", "n", "a")
    assert process.poll() is None
