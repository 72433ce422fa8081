"""Apply a command to several plugins: one error line for each failure, and one exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

from pluginexec.cli.errors import show_error
from pluginexec.cli.output import put
from pluginexec.cli.progress import progress
from pluginexec.errors import PluginExecError
from pluginexec.host.side_by_side import side_by_side


def for_each(references: Iterable[str], work: Callable[[str], object], *, echo: bool = True) -> int:
    """Call ``work`` with each reference, print each success as docker does, and return the exit code."""
    code = 0
    for reference in dict.fromkeys(references):
        try:
            work(reference)
            if echo:
                put(reference)
        except PluginExecError as error:
            code = show_error(error)
    return code


def for_each_at_once(references: Iterable[str], work: Callable[[str], object], doing: str) -> int:
    """As ``for_each``, side by side on threads; what came of each is printed in the order of the references.

    ``doing`` is a verb, "stopping", for the line that shows the progress.
    """
    code = 0
    ids = list(dict.fromkeys(references))
    with closing(side_by_side(work, ids)) as outcomes:
        for id in ids:
            with progress(f"{doing} {id}"):
                error = next(outcomes)
            try:
                if error:
                    raise error
                put(id)
            except PluginExecError as problem:
                code = show_error(problem)
    return code
