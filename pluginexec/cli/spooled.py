"""Archives from stdin, kept in a file while they are read."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def spooled(file: str) -> Iterator[Path]:
    """Yield the path of a file, or of a copy of stdin for ``-``, which goes afterwards."""
    if file != "-":
        yield Path(file)
        return
    if sys.stdin.isatty():
        raise click.UsageError("expected an archive: use -i FILE, or redirect stdin")
    with tempfile.NamedTemporaryFile(prefix="pluginexec-", suffix=".tar") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)
