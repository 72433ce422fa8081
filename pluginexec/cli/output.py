"""Data on stdout: tables for people, JSON and templates for scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from pluginexec.cli.colour import styled
from pluginexec.cli.templates import Format, parse_format, to_text
from pluginexec.errors import Unavailable

Row = Mapping[str, Any]
Columns = Sequence[tuple[str, str]]
_Command = TypeVar("_Command", bound=Callable[..., Any])

# As in docker: the minimum width of a column, and the number of blanks after its longest cell.
_MIN_WIDTH = 10
_GAP = 3
_COLOURS = {"Up": "green", "running": "green", "Restarting": "yellow", "restarting": "yellow", "paused": "yellow"}


def format_option(
    fields: Sequence[str] | None, default: str = "table", *, short: bool = False
) -> Callable[[_Command], _Command]:
    """Add ``--format`` to a command; it is validated during parsing, against ``fields`` if these are known.

    ``short`` adds ``-f``, for commands where docker has it and ``-f`` does not mean ``--filter``.
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
        help="Output format: table, json (one object per line), or a template such as '{{.ID}}' or"
        " 'table {{.ID}}\\t{{.Status}}'.",
    )


def print_rows(rows: Iterable[Row], format: str, columns: Columns) -> None:
    """Print rows in ``format``; each column of a table is a header and the key of its cells."""
    parsed = parse_format(format)
    if parsed.type == "table":
        for line in _table(rows, parsed, columns):
            put(line)
    else:
        for row in rows:
            put(parsed.render(row))


def print_document(document: Row, format: str) -> None:
    """Print one row; there is no table, so ``table`` means JSON."""
    parsed = parse_format(format)
    put(Format("json").render(document) if parsed.type == "table" else parsed.render(document))


def put(line: object) -> None:
    """Print one line of data and flush it."""
    with writing():
        click.echo(line)


@contextmanager
def writing(stream: str = "stdout") -> Iterator[None]:
    """Raise ``unwritable`` for what the body, which writes to a standard stream and flushes it, cannot write."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader is gone: exit silently
    except OSError as error:
        raise unwritable(stream, error) from error


def unwritable(stream: str, error: OSError) -> Unavailable:
    """Return the error for a standard stream that cannot be written to, such as a file on a full disk."""
    return Unavailable(f"cannot write to {stream}: {error.strerror}")


def _table(rows: Iterable[Row], parsed: Format, columns: Columns) -> Iterable[str]:
    if parsed.parts:
        titles = {key: header for header, key in columns}
        text = [parsed.render_header(titles), *(parsed.render(row) for row in rows)]
        return _aligned([line.split("\t") for each in text for line in each.split("\n")])
    cells = [[to_text(row.get(key)) for _, key in columns] for row in rows]
    return _aligned([[header for header, _ in columns], *cells])


def _aligned(lines: list[list[str]]) -> Iterable[str]:
    count = max(map(len, lines))
    widths = [max(len(cells[n]) for cells in lines if n < len(cells)) + _GAP for n in range(count)]
    for cells in lines:
        padded = [cell.ljust(max(width, _MIN_WIDTH)) for cell, width in zip(cells[:-1], widths, strict=False)]
        yield "".join(map(_coloured, [*padded, cells[-1]]))


def _coloured(cell: str) -> str:
    colour = _COLOURS.get(cell.split(" ", 1)[0])
    return styled(cell, colour, sys.stdout) if colour else cell
