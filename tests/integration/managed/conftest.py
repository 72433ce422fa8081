"""Fixtures: bundles of the tests' managed plugins, and plugins that are disabled and removed in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginexec import Executor, ManagedPlugin
from pluginexec.linux.mounts import mount_points_below, unmount_below
from tests.support.managed_plugins.bundles import make_bundle, python_command

NewBundle = Callable[..., Path]
NewPlugin = Callable[..., ManagedPlugin]


@pytest.fixture(autouse=True)
def no_mounts(tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves something mounted, and unmount it."""
    yield
    left = mount_points_below(tmp_path)
    unmount_below(tmp_path)
    assert left == []


@pytest.fixture
def new_bundle(tmp_path: Path) -> NewBundle:
    """Make the bundle of one of the tests' plugins, with fields of its configuration changed."""

    def make(name: str = "volume", *, script: str | None = None, **changes: Any) -> Path:
        if script is not None:
            changes["entrypoint"] = python_command(script)
        return make_bundle(tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}", name, **changes)

    return make


@pytest.fixture
def new_plugin(executor: Executor, new_id: Callable[[], str], new_bundle: NewBundle) -> Iterator[NewPlugin]:
    """Make a plugin of a bundle, by default of one of the tests' plugins; all are removed in the end."""
    plugins: list[ManagedPlugin] = []

    def make(source: Path | str = "volume", **options: Any) -> ManagedPlugin:
        names = {name: options.pop(name) for name in ("script", "config") if name in options}
        if isinstance(source, str):
            source = new_bundle(source, script=names.get("script"), **names.get("config", {}))
        options.setdefault("id", new_id())
        plugins.append(ManagedPlugin(options.pop("executor", executor), source, **options))
        return plugins[-1]

    yield make
    for plugin in plugins:
        plugin.remove()
