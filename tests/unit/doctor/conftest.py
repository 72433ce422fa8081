"""Fixtures: hosts on which a containerd is listening, or none is. It is never asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginexec import PLUGIN_NAMESPACE, Remote
from pluginexec.daemon.target import Target
from tests.support.embedded import NOBODY, own_address, short_root
from tests.support.layouts import one_directory


@pytest.fixture
def root() -> Iterator[Path]:
    with short_root() as root:
        yield root


@pytest.fixture
def target(root: Path) -> Target:
    """A host whose containerd is listening."""
    return Target(NOBODY, PLUGIN_NAMESPACE, one_directory(root), Remote(NOBODY))


@pytest.fixture
def nowhere(root: Path) -> Target:
    """A host without a containerd."""
    return Target(own_address(root), PLUGIN_NAMESPACE, one_directory(root), None)
