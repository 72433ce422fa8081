"""The containerd under test is the one that was asked for. Real: the daemon, its ``ctr``, a shim."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginexec import Containerd, Executor
from pluginexec.containerd.client import parse_client_version, parse_server_version
from tests.compat.selected import VERSION_VARIABLE, version_of
from tests.conftest import shims


def installed(command: str) -> Path:
    """Return the file that a command on the ``PATH`` is."""
    found = shutil.which(command)
    assert found
    return Path(found).resolve()


@pytest.fixture
def asked_for() -> str:
    """The version that ``python -m tests.compat`` is about to test, else the one on the ``PATH``."""
    return os.environ.get(VERSION_VARIABLE) or version_of(installed("containerd"))


def test_the_daemon_and_ctr_say_that_they_are_the_version_asked_for(containerd: Containerd, asked_for: str) -> None:
    argv = ["ctr", "--address", containerd.address, "version"]
    answer = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
    assert (parse_client_version(answer), parse_server_version(answer)) == (asked_for, asked_for)


def test_the_daemon_and_its_shims_run_from_the_files_on_the_path(
    executor: Executor, containerd: Containerd, id: str, shell: Callable[..., dict[str, Any]], asked_for: str
) -> None:
    executor.create(id, shell(id, "exec sleep 1000"))
    (shim,) = shims(containerd)
    assert Path(shim.exe()) == installed("containerd-shim-runc-v2")
    assert Path(psutil.Process(containerd.pid).exe()) == installed("containerd")
    assert version_of(installed("containerd-shim-runc-v2")) == asked_for
