"""Complete ids: what the shell asks for while a person types. Nothing here may raise, or change anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click


def complete_id(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of all plugins that begin so."""
    return _ids(ctx, param, incomplete, lambda alive: True)


def complete_running(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the plugins that run and begin so."""
    return _ids(ctx, param, incomplete, lambda alive: alive)


def complete_stopped(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the plugins that do not run and begin so."""
    return _ids(ctx, param, incomplete, lambda alive: not alive)


def _ids(ctx: click.Context, param: click.Parameter, incomplete: str, wanted: Callable[[bool], bool]) -> list[str]:
    given = ctx.params.get(param.name or "") or ()
    try:
        return [id for id, alive in _plugins(ctx, incomplete) if wanted(alive) and id not in given]
    except Exception:  # in the middle of somebody's line nothing may be printed
        return []


def _plugins(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, bool]]:
    """Give the ids that begin so, and whether each runs."""
    from pluginexec.errors import PluginExecError
    from pluginexec.host.records import Records, is_alive

    records = Records(ctx.find_root().params["root"])
    for id in records.ids():
        if id.startswith(incomplete):
            try:
                state = records.state(id)
            except PluginExecError:  # removed meanwhile
                continue
            yield id, is_alive(state) or state.status == "restarting"
