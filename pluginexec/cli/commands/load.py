"""``pluginexec load``: load images from an archive."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.images import images_of
from pluginexec.cli.output import put
from pluginexec.cli.spooled import spooled


@click.command(name="load")
@click.option("--input", "-i", "archive", metavar="FILE", default="-", help="Read from a file. Default: stdin.")
@click.option("--quiet", "-q", is_flag=True, help="Only print the names of the images.")
@click.pass_obj
def command(settings: Settings, archive: str, quiet: bool) -> None:
    """Load images from an archive of docker's or OCI's layout, as 'docker save' and skopeo write them."""
    with spooled(archive) as path:
        for name in images_of(settings).load(path):
            put(name if quiet else f"Loaded image: {name}")
