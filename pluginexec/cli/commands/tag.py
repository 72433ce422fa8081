"""``pluginexec tag``: give an image another name."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.images import images_of


@click.command(name="tag")
@click.argument("image", metavar="IMAGE")
@click.argument("name", metavar="NAME[:TAG]")
@click.pass_obj
def command(settings: Settings, image: str, name: str) -> None:
    """Give an image another name; an image that has that name loses it."""
    images_of(settings).tag(image, name)
