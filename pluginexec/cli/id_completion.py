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


def complete_managed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of all managed plugins that begin so."""
    return _ids(ctx, param, incomplete, lambda alive: True, _managed_plugins)


def complete_enabled(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the managed plugins that run and begin so."""
    return _ids(ctx, param, incomplete, lambda alive: alive, _managed_plugins)


def complete_disabled(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the managed plugins that do not run and begin so."""
    return _ids(ctx, param, incomplete, lambda alive: not alive, _managed_plugins)


def _ids(
    ctx: click.Context,
    param: click.Parameter,
    incomplete: str,
    wanted: Callable[[bool], bool],
    plugins: Callable[[click.Context, str], Iterator[tuple[str, bool]]] | None = None,
) -> list[str]:
    given = ctx.params.get(param.name or "") or ()
    try:
        return [id for id, alive in (plugins or _plugins)(ctx, incomplete) if wanted(alive) and id not in given]
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


def _managed_plugins(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, bool]]:
    """Give the names that begin so, and whether each runs."""
    from pluginexec.host.managed.store import ManagedStore

    running = {id for id, alive in _plugins(ctx, incomplete) if alive}
    for name in ManagedStore(ctx.find_root().params["root"]).names():
        if name.startswith(incomplete):
            yield name, name in running
