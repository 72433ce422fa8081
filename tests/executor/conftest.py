"""Fixtures for the executor's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from pluginexec import Containerd


@pytest.fixture
def mortal(no_leaks: None) -> Iterator[Containerd]:
    """A containerd of the test's own, that it may kill."""
    directory = tempfile.mkdtemp(prefix="px-", dir="/tmp")
    try:
        with Containerd(directory) as containerd:
            yield containerd
    finally:
        shutil.rmtree(directory)
