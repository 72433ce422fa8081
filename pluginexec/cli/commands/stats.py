"""``pluginexec stats``: display a live stream of resource usage statistics."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import click

from pluginexec.cli.colour import is_capable
from pluginexec.cli.foreground import Signals
from pluginexec.cli.globals import Settings
from pluginexec.cli.humanize import human_size, now
from pluginexec.cli.id_completion import complete_running
from pluginexec.cli.output import format_option, print_rows, writing
from pluginexec.host.programs import AllRecords
from pluginexec.host.stats import Sample, Watch
from pluginexec.host.usage import memory_percent

COLUMNS = [
    ("CONTAINER ID", "id"),
    ("CPU %", "cpu_perc"),
    ("MEM USAGE / LIMIT", "mem_usage"),
    ("MEM %", "mem_perc"),
    ("NET I/O", "net_io"),
    ("BLOCK I/O", "block_io"),
    ("PIDS", "pids"),
]
NUMBERS = (
    *("time", "id", "cpu_percent", "memory", "memory_limit", "memory_percent"),
    *("network_received", "network_sent", "block_read", "block_written", "pids", "pids_limit"),
)
_INTERVAL = 1.0
_UNKNOWN = "--"
_DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"


@click.command(name="stats")
@click.option("--no-stream", is_flag=True, help="Measure for one second, print the result once, and exit.")
@format_option([*(key for _, key in COLUMNS), *NUMBERS])
@click.argument("ids", metavar="[ID...]", nargs=-1, shell_complete=complete_running)
@click.pass_obj
def command(settings: Settings, no_stream: bool, format: str, ids: tuple[str, ...]) -> None:
    """Display a live stream of resource usage statistics: CPU, memory, network, block devices and processes.

    Updates each second until Ctrl-C. Default: all running plugins. On a terminal the table is redrawn in place;
    otherwise a new one is printed each second. Plugins that exit disappear; the command ends when all named plugins
    have exited.

    CPU is in percent of one processor. Memory excludes inactive file cache. --format json prints plain numbers:
    percentages and bytes.
    """
    records = AllRecords(settings.layout)
    watch = Watch(records, [records.resolve(id) for id in ids])
    samples = watch.sample()
    if no_stream:
        if samples:
            time.sleep(_INTERVAL)
        show(watch.sample(), format)
    elif format == "table" and is_capable(sys.stdout):
        with Signals(), Screen() as screen:
            screen.draw(samples)
            while _next(watch):
                screen.draw(watch.sample())
    else:
        while _next(watch):
            show(watch.sample(), format)


def _next(watch: Watch) -> bool:
    """Wait for the next interval; return whether any plugin is left."""
    time.sleep(_INTERVAL)
    return not watch.is_over()


def show(samples: Iterable[Sample], format: str) -> None:
    """Print samples: formatted values in a table, numbers in JSON, either in a template."""
    rows = (_numbers(sample) if format == "json" else _numbers(sample) | _words(sample) for sample in samples)
    print_rows(rows, format, COLUMNS)


class Screen:
    """A table on a terminal that is redrawn in place, with the cursor hidden."""

    def __init__(self) -> None:
        self._height = 0

    def __enter__(self) -> Screen:
        self._put(_HIDE_CURSOR)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._put(_SHOW_CURSOR)

    def draw(self, samples: Iterable[Sample]) -> None:
        """Draw the table as far as it fits: lines that scroll away cannot be redrawn."""
        with contextlib.redirect_stdout(io.StringIO()) as table:
            show(samples, "table")
        size = shutil.get_terminal_size()
        lines = [line[: size.columns] for line in table.getvalue().splitlines()][: size.lines - 1]
        up = f"\x1b[{self._height}A" if self._height else ""
        # Erase each line before writing it: erasing after a full line would remove its last character.
        self._put(f"{up}\r" + "".join(f"{_ERASE_LINE}{line}\n" for line in lines) + _ERASE_BELOW)
        self._height = len(lines)

    def _put(self, text: str) -> None:
        with writing():
            sys.stdout.write(text)
            sys.stdout.flush()


def _numbers(sample: Sample) -> dict[str, Any]:
    usage = sample.usage
    return {
        "time": now(),
        "id": sample.id,
        "cpu_percent": _rounded(sample.cpu_percent),
        "memory": usage.memory,
        "memory_limit": usage.memory_limit,
        "memory_percent": _rounded(memory_percent(usage)),
        "network_received": usage.received,
        "network_sent": usage.sent,
        "block_read": usage.block_read,
        "block_written": usage.block_written,
        "pids": usage.pids,
        "pids_limit": usage.pids_limit,
    }


def _words(sample: Sample) -> dict[str, Any]:
    usage = sample.usage
    used = _UNKNOWN if usage.memory is None else human_size(usage.memory)
    return {
        "cpu_perc": _percent(sample.cpu_percent),
        "mem_usage": f"{used} / {human_size(usage.memory_limit)}",
        "mem_perc": _percent(memory_percent(usage)),
        "net_io": f"{_decimal(usage.received)} / {_decimal(usage.sent)}",
        "block_io": f"{_decimal(usage.block_read)} / {_decimal(usage.block_written)}",
        "pids": _UNKNOWN if usage.pids is None else usage.pids,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}%"


def _decimal(count: int | None) -> str:
    """Return bytes with three digits and a decimal unit, as docker shows transferred data."""
    if count is None:
        return _UNKNOWN
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_DECIMAL_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{float(f'{size:.3g}'):g}{_DECIMAL_UNITS[unit]}"
