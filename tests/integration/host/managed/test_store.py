"""The managed plugins of a root on disk, where something is mounted in them.

Real: mounts. No containerd: nothing is started.
"""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from pathlib import Path

from pluginexec.host.managed.store import Managed, ManagedStore
from pluginexec.linux.mounts import mount_points_below, unmount_below
from tests.support.layouts import one_directory
from tests.support.managed_plugins.bundles import make_bundle


def test_what_is_mounted_in_a_plugin_is_not_deleted_with_it(root_dir: Path, tmp_path: Path) -> None:
    store, vol = ManagedStore(one_directory(root_dir)), "vol"
    store.create(Managed(vol, datetime.now(timezone.utc)), make_bundle(tmp_path / "bundle", "volume"))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    point = store.files(vol).directory / "propagated-mount" / "x"
    point.mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, point], check=True)
    try:
        with store.changing(vol):
            store.remove(vol)
        assert [path.name for path in (root_dir / "managed").iterdir()] == [".lock"]
        assert not mount_points_below(store.layout.root)
    finally:
        unmount_below(store.layout.root)
    assert (precious / "file").exists()
