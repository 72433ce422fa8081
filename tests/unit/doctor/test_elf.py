"""The tiny programs. Real: the one of this machine, which is executed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pluginexec.doctor.elf import GREETING, tiny_program
from pluginexec.testing.rootfs import is_static


def test_the_tiny_program_runs_on_this_machine(tmp_path: Path) -> None:
    program = tiny_program(os.uname().machine)
    assert program
    (tmp_path / "tiny").write_bytes(program)
    (tmp_path / "tiny").chmod(0o700)
    done = subprocess.run([tmp_path / "tiny"], capture_output=True, check=True, timeout=10)
    assert (done.stdout, done.stderr) == (GREETING, b"")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_tiny_programs_are_static_and_end_with_the_greeting(machine: str, tmp_path: Path) -> None:
    program = tiny_program(machine)
    assert program
    assert program.endswith(GREETING)
    (tmp_path / "tiny").write_bytes(program)
    assert is_static(tmp_path / "tiny")
    assert tiny_program("pdp11") is None
