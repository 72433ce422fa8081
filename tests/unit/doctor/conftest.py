"""Fixtures: hosts on which a containerd is listening, or none is. It is never asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginexec import PLUGIN_NAMESPACE, Remote
from pluginexec.doctor.check import Place
from tests.support.embedded import NOBODY, short_root


@pytest.fixture
def root() -> Iterator[Path]:
    with short_root() as root:
        yield root


@pytest.fixture
def place(root: Path) -> Place:
    """A host whose containerd is listening."""
    return Place(NOBODY, PLUGIN_NAMESPACE, root, Remote(NOBODY))


@pytest.fixture
def nowhere(root: Path) -> Place:
    """A host without a containerd."""
    return Place(NOBODY, PLUGIN_NAMESPACE, root, None)
