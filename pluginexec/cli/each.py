"""Apply a command to several plugins: one error line for each failure, and one exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pluginexec.cli.errors import show_error
from pluginexec.cli.output import put
from pluginexec.errors import PluginExecError


def for_each(references: Iterable[str], work: Callable[[str], object], *, echo: bool = True) -> int:
    """Call ``work`` with each reference, print each success as docker does, and return the exit code."""
    code = 0
    for reference in dict.fromkeys(references):
        try:
            work(reference)
        except PluginExecError as error:
            code = show_error(error)
        else:
            if echo:
                put(reference)
    return code
