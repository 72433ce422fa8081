"""``pluginexec plugin`` with bundles and plugins that mean harm.

Real: the console script, containerd, a plugin of the tests' own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pluginexec.linux.mounts import unmount_below
from tests.integration.cli.conftest import Px
from tests.support.managed_plugins.bundles import make_bundle
from tests.support.tars import REG, SYM, TOP, raw_tar

NEST = """
import os
for top in ("/run/docker/plugins", "/mnt/volumes", "/"):
    os.chdir(top)
    for _ in range(1500):
        os.mkdir("a")
        os.chdir("a")
raise SystemExit("nested")
"""


def test_a_tar_that_would_write_elsewhere_is_refused_in_one_line(px: Px, tmp_path: Path, root_dir: Path) -> None:
    (tmp_path / "victim").mkdir()
    link = ("rootfs", SYM, {"linkname": str(tmp_path / "victim")})
    tar = raw_tar(tmp_path / "tar", [TOP[0], link, ("rootfs/etc/cron.d/x", REG, {"data": b"* * * * * root id\n"})])
    done = px("plugin", "create", "name", tar)
    assert (done.code, done.out) == (125, b"")
    assert done.err.decode() == f"pluginexec: plugin '{tar}': entry 'rootfs' must be a directory\n"
    assert os.listdir(tmp_path / "victim") == []
    assert [path.name for path in (root_dir / "managed").iterdir()] == [".lock"]


def test_a_plugin_that_nests_directories_is_removed_and_stops_no_other(
    px: Px, tmp_path: Path, root_dir: Path, new_id: Callable[[], str]
) -> None:
    deep, other, later = (new_id() for _ in range(3))
    script = [os.path.realpath(sys.executable), "-I", "-S", "-c", NEST]
    bundle = make_bundle(tmp_path / "bundle", "volume")
    nesting = make_bundle(tmp_path / "nesting", "volume", entrypoint=script)
    try:
        for name, source in ((deep, nesting), (other, bundle)):
            assert px("plugin", "create", name, source).code == 0
        done = px("plugin", "enable", deep)
        assert done.code == 125
        assert b"nested" in done.err
        assert px("plugin", "enable", other).lines == [other]
        assert px("plugin", "rm", "-f", deep).lines == [deep]
        assert px("plugin", "disable", other).lines == [other]
        assert px("plugin", "create", later, bundle).code == 0
        assert px("plugin", "rm", other, later).lines == [other, later]
        assert [path.name for path in (root_dir / "managed").iterdir()] == [".lock"]
    finally:
        unmount_below(root_dir)
        subprocess.run(["rm", "-rf", "--", str(root_dir / "managed")], check=True)
