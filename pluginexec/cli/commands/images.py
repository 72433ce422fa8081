"""``pluginexec images``: list images."""

from __future__ import annotations

import click

from pluginexec.cli.globals import Settings
from pluginexec.cli.images import images_of
from pluginexec.cli.output import format_option, print_rows, put
from pluginexec.images.listing import FIELDS, matches, row

COLUMNS = [("REPOSITORY", "repository"), ("TAG", "tag"), ("DIGEST", "short_digest"), ("SIZE", "size")]


@click.command(name="images")
@click.option("--quiet", "-q", is_flag=True, help="Only show digests.")
@click.option("--no-trunc", is_flag=True, help="Do not truncate digests.")
@format_option(FIELDS)
@click.argument("pattern", metavar="[REPOSITORY[:TAG]]", required=False)
@click.pass_obj
def command(settings: Settings, quiet: bool, no_trunc: bool, format: str, pattern: str | None) -> None:
    """List images; SIZE is that of the compressed layers."""
    rows = [row(image) for image in images_of(settings).list() if pattern is None or matches(image, pattern)]
    if quiet:
        for digest in dict.fromkeys(each["digest"] for each in rows):
            put(digest)
        return
    if no_trunc:
        rows = [{**each, "short_digest": each["digest"]} for each in rows]
    print_rows(rows, format, COLUMNS)
