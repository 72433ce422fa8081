"""``pluginexec save``: write images to an archive."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.images import images_of
from pluginexec.cli.output import writing


@click.command(name="save")
@click.option("--output", "-o", metavar="FILE", help="Write to a file. Default: stdout.")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.pass_obj
def command(settings: Settings, output: str | None, names: tuple[str, ...]) -> None:
    """Write images to an archive of OCI's layout, which docker and 'load' read."""
    images = images_of(settings)
    if output is not None:
        images.save(output, names)
        return
    if sys.stdout.isatty():
        raise click.UsageError("refusing to write an archive to a terminal: use -o FILE, or redirect stdout")
    with tempfile.TemporaryDirectory(prefix="pluginexec-") as directory, writing():
        archive = Path(directory, "archive")
        images.save(archive, names)
        with archive.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
