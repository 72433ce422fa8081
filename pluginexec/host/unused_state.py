"""Remove the state directory of a root once nothing in it is used.

That is one below ``/run/pluginexec/by-root``, whose name is computed: roots of short life would fill that. The locks
are held meanwhile, so that no command begins to use it; one that waits for a lock makes the directory again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from pluginexec.daemon.files import DaemonFiles
from pluginexec.daemon.private import private_files
from pluginexec.errors import PluginExecError
from pluginexec.linux import trees
from pluginexec.linux.directories import names_in
from pluginexec.linux.locks import release_lock, take_lock
from pluginexec.root.layout import Layout

log = logging.getLogger(__name__)


def remove_unused_state(layout: Layout) -> None:
    """Remove the state directory of a root that has no plugins, unless something uses it; raises nothing."""
    try:
        if not any(map(names_in, (layout.plugins, layout.containers, layout.unfinished))):
            with _held(layout.lock, layout.serve_lock) as is_held:
                if is_held:
                    _remove(layout)
    except (OSError, PluginExecError) as error:
        log.debug("the state directory %s stays: %s", layout.state, error)


def _remove(layout: Layout) -> None:
    files = private_files(layout)
    with _held(files.lock) as is_held:
        runs = _entries(layout.runtime_root)  # a directory for each namespace
        used = map(names_in, (layout.plugins, layout.containers, layout.unfinished, *runs))
        if not is_held or any(used) or _is_alive(files):
            return
        known = {layout.owner, layout.lock, layout.serve_lock, layout.serve_socket}
        trees_of_ours = {layout.containers, layout.unfinished, layout.runtime_root, layout.containerd_state}
        if not known | trees_of_ours >= set(_entries(layout.state)):
            return
        for tree in trees_of_ours:
            trees.remove(tree)
        for path in known:
            path.unlink(missing_ok=True)
        layout.state.rmdir()


def _is_alive(files: DaemonFiles) -> bool:
    """Return whether the private containerd runs, or what it ran may do."""
    return any(names_in(namespace) for namespace in _entries(files.tasks)) or next(files.processes(), None) is not None


@contextlib.contextmanager
def _held(*locks: Path) -> Iterator[bool]:
    """Hold the locks that exist; ``False`` if another process has one of them."""
    with contextlib.ExitStack() as held:
        is_held = True
        for path in locks:
            with contextlib.suppress(FileNotFoundError):
                lock = take_lock(path, make=False)
                if lock is None:
                    is_held = False
                else:
                    held.callback(release_lock, lock)
        yield is_held


def _entries(directory: Path) -> list[Path]:
    return [directory / name for name in names_in(directory)]
