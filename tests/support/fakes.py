"""Fake commands, for what the real ones cannot be made to do."""

from __future__ import annotations

from pathlib import Path


def fake_command(path: Path, script: str) -> str:
    """Write a shell script that stands in for a command, its own directory in ``$here``; return its path."""
    path.write_text(f'#!/bin/sh\nhere=$(dirname "$0")\n{script}\n')
    path.chmod(0o755)
    return str(path)
