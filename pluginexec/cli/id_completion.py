"""Shell completion of ids. Nothing here may raise, print, or change anything."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator

import click

if typing.TYPE_CHECKING:
    from pluginexec.root.layout import Layout


def complete_id(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of all plugins with this prefix."""
    return _ids(ctx, param, incomplete, lambda running: True)


def complete_running(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of running plugins with this prefix."""
    return _ids(ctx, param, incomplete, lambda running: running)


def complete_stopped(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of stopped plugins with this prefix."""
    return _ids(ctx, param, incomplete, lambda running: not running)


def complete_managed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of all managed plugins with this prefix."""
    return _ids(ctx, param, incomplete, lambda running: True, _managed_plugins)


def complete_enabled(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of enabled plugins with this prefix."""
    return _ids(ctx, param, incomplete, lambda running: running, _managed_plugins)


def complete_disabled(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of disabled plugins with this prefix."""
    return _ids(ctx, param, incomplete, lambda running: not running, _managed_plugins)


def _ids(
    ctx: click.Context,
    param: click.Parameter,
    incomplete: str,
    wanted: Callable[[bool], bool],
    plugins: Callable[[click.Context, str], Iterator[tuple[str, bool]]] | None = None,
) -> list[str]:
    given = ctx.params.get(param.name or "") or ()
    try:
        return [id for id, running in (plugins or _plugins)(ctx, incomplete) if wanted(running) and id not in given]
    except Exception:  # nothing may be printed while the user is typing
        return []


def _plugins(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, bool]]:
    """Yield the ids with this prefix, and whether each is running."""
    from pluginexec.errors import PluginExecError
    from pluginexec.host.programs import AllRecords
    from pluginexec.host.records import is_alive

    records = AllRecords(_layout(ctx))
    for id in records.all_ids():
        if id.startswith(incomplete):
            try:
                state = records.state(id)
            except PluginExecError:  # removed meanwhile
                continue
            yield id, is_alive(state) or state.status == "restarting"


def _managed_plugins(ctx: click.Context, incomplete: str) -> Iterator[tuple[str, bool]]:
    """Yield the names with this prefix, and whether each is running."""
    from pluginexec.host.managed.store import ManagedStore

    enabled = {id for id, running in _plugins(ctx, incomplete) if running}
    for name in ManagedStore(_layout(ctx)).names():
        if name.startswith(incomplete):
            yield name, name in enabled


def _layout(ctx: click.Context) -> Layout:
    from pluginexec.root.layout import Layout

    given = ctx.find_root().params
    return Layout.of(given["root"], given["state"] or None)
