"""Data on stdout: tables for people, JSON and templates for scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from pluginexec.cli.colour import styled
from pluginexec.cli.templates import Format, parse_format, to_text
from pluginexec.errors import Unavailable

Row = Mapping[str, Any]
Columns = Sequence[tuple[str, str]]
_Command = TypeVar("_Command", bound=Callable[..., Any])

# docker's: a column has at least so many characters, and so many blanks behind the longest cell.
_NARROWEST = 10
_GAP = 3
_COLOURS = {"Up": "green", "running": "green", "Restarting": "yellow", "restarting": "yellow", "paused": "yellow"}


def format_option(
    fields: Sequence[str] | None, default: str = "table", *, short: bool = False
) -> Callable[[_Command], _Command]:
    """Add ``--format`` to a command: checked before any work is done, against ``fields`` where these are known.

    ``short``: as ``-f`` too, where docker has that and ``-f`` is no filter.
    """

    def check(ctx: click.Context, param: click.Parameter, value: str) -> str:
        if not ctx.resilient_parsing:
            parse_format(value, fields)
        return value

    return click.option(
        *(["-f"] if short else []),
        "--format",
        metavar="FORMAT",
        default=default,
        show_default=True,
        callback=check,
        help="table, json (one object a line), or a template such as '{{.ID}}' or 'table {{.ID}}\\t{{.Status}}'.",
    )


def print_rows(rows: Iterable[Row], format: str, columns: Columns) -> None:
    """Print rows as ``format`` asks; in a table each column is a header and the key of what stands below it."""
    wanted = parse_format(format)
    if wanted.kind == "table":
        for line in _table(rows, wanted, columns):
            put(line)
    else:
        for row in rows:
            put(wanted.render(row))


def print_document(document: Row, format: str) -> None:
    """Print one thing; it has no table."""
    wanted = parse_format(format)
    put(Format("json").render(document) if wanted.kind == "table" else wanted.render(document))


def put(line: str) -> None:
    """Print one line of data, at once."""
    try:
        click.echo(line)
    except BrokenPipeError:
        raise  # nobody reads any more, and nobody need be told
    except OSError as error:
        raise Unavailable(f"stdout cannot be written to: {error.strerror}") from error


def _table(rows: Iterable[Row], wanted: Format, columns: Columns) -> Iterable[str]:
    if wanted.parts:
        titles = {key: header for header, key in columns}
        text = [wanted.render_header(titles), *(wanted.render(row) for row in rows)]
        return _aligned([line.split("\t") for each in text for line in each.split("\n")])
    cells = [[to_text(row.get(key)) for _, key in columns] for row in rows]
    return _aligned([[header for header, _ in columns], *cells])


def _aligned(lines: list[list[str]]) -> Iterable[str]:
    count = max(map(len, lines))
    widths = [max(len(cells[n]) for cells in lines if n < len(cells)) + _GAP for n in range(count)]
    for cells in lines:
        padded = [cell.ljust(max(width, _NARROWEST)) for cell, width in zip(cells[:-1], widths, strict=False)]
        yield "".join(map(_coloured, [*padded, cells[-1]]))


def _coloured(cell: str) -> str:
    colour = _COLOURS.get(cell.split(" ", 1)[0])
    return styled(cell, colour, sys.stdout) if colour else cell
