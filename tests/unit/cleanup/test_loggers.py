"""Loggers that were left behind are ended, and nobody else is.

Real: the processes, which have of a logger what it is known by.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginexec.cleanup.loggers import end_loggers
from pluginexec.root.plugin_files import PluginFiles
from tests.support.harness import PATIENCE, held_descriptors

Start = Callable[..., subprocess.Popen[bytes]]
SCRIPT = "exec 5<$0; echo up; exec sleep 1000"


@pytest.fixture
def files(tmp_path: Path) -> PluginFiles:
    files = PluginFiles(tmp_path / "x")
    files.make({})
    return files


@pytest.fixture
def start(files: PluginFiles) -> Iterator[Start]:
    """Start something that sleeps, by default just as a logger has its marks."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        id: str = "x", mark: Path = files.config, script: str = SCRIPT, program: str = "/bin/sh"
    ) -> subprocess.Popen[bytes]:
        argv, pipe = ["/bin/sh", "-c", script, str(mark)], subprocess.PIPE
        environment = {"CONTAINER_ID": id, "PATH": os.defpath}
        process = subprocess.Popen(argv, executable=program, stdin=pipe, stdout=pipe, env=environment)
        assert process.stdout
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_logger_of_this_id_is_ended_with_all_that_copies_for_it(files: PluginFiles, start: Start) -> None:
    shell = start(script="exec 5<$0; sleep 1000 & echo up; wait")
    end_loggers(files)
    assert shell.wait(PATIENCE) == -9
    assert shell.stdout
    assert shell.stdout.read() == b""  # to its end: the other has it open too


def test_it_is_found_though_the_files_are_gone_and_the_root_was_named_by_a_link(
    files: PluginFiles, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    logger = start()
    files.remove()
    end_loggers(PluginFiles(tmp_path / "link" / "x"))
    assert logger.wait(PATIENCE) == -9


def test_nobody_else_is_ended(files: PluginFiles, start: Start, tmp_path: Path) -> None:
    other = PluginFiles(tmp_path / "y")
    other.make({})
    program = shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "another-program")
    others = [
        start(id="y"),
        start(mark=other.config),
        start(mark=Path("/dev/null")),
        start(script="exec 6<$0; echo up; exec sleep 1000"),
        start(script="exec 5<$0; echo up; read x", program=program),
    ]
    with files.config.open():  # and not us, of course
        end_loggers(files)
    for process in others:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)


def test_no_descriptor_is_kept(files: PluginFiles, start: Start) -> None:
    start()
    before = held_descriptors()
    end_loggers(files)
    assert held_descriptors() == before
