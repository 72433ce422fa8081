"""``pluginexec rmi``: remove images."""

from __future__ import annotations

import click

from pluginexec.cli.each import for_each
from pluginexec.cli.globals import Settings
from pluginexec.cli.images import images_of
from pluginexec.cli.output import put
from pluginexec.host.images import digests_in_use, remove_image


@click.command(name="rmi")
@click.option("--force", "-f", is_flag=True, help="Remove images that stopped plugins were made from, too.")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.pass_obj
def command(settings: Settings, force: bool, names: tuple[str, ...]) -> int:
    """Remove images; layers that another image or a plugin uses stay."""
    images = images_of(settings)

    def remove(name: str) -> None:
        put(f"Untagged: {remove_image(images, settings.layout, name, force=force)}")

    code = for_each(names, remove, echo=False)
    images.sweep(digests_in_use(settings.layout))
    return code
