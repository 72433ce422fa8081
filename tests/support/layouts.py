"""Layouts of roots for tests."""

from __future__ import annotations

from pathlib import Path

from pluginexec.root.layout import Layout


def one_directory(root: Path) -> Layout:
    """Return the layout of a root that is its own state directory, as most tests have it: its path is short."""
    return Layout(root, root)
