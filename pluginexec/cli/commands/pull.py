"""``pluginexec pull``: download an image from its registry."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.images import drawing, images_of
from pluginexec.cli.output import put
from pluginexec.images.reference import parse_reference


@click.command(name="pull")
@click.option("--quiet", "-q", is_flag=True, help="Only print the name of the image.")
@click.option("--platform", metavar="OS/ARCH", help="Platform of the image. Default: that of this machine.")
@click.option("--plain-http", is_flag=True, help="Speak HTTP to a registry that is not on this machine.")
@click.argument("image", metavar="IMAGE[:TAG|@DIGEST]")
@click.pass_obj
def command(settings: Settings, quiet: bool, platform: str | None, plain_http: bool, image: str) -> None:
    """Download an image from its registry.

    'alpine' is docker.io/library/alpine:latest, as in docker.
    """
    parse_reference(image)  # before anything is started
    images = images_of(settings)
    name = images.pull(image, platform=platform, plain_http=plain_http, progress=None if quiet else drawing())
    if not quiet:
        put(f"Digest: {images.find(name).digest}")
    put(name)
