"""All checks on a host where plugins can run. Real: containerd, the root, the plugin."""

from __future__ import annotations

from pathlib import Path

from pluginexec import PLUGIN_NAMESPACE, Containerd
from pluginexec.daemon.target import Target
from pluginexec.doctor import run
from pluginexec.doctor.check import OK
from tests.support.layouts import one_directory


def test_all_is_well(clean_namespace: None, containerd: Containerd, root_dir: Path) -> None:
    target = Target.of(containerd.address, PLUGIN_NAMESPACE, one_directory(root_dir))
    checks = [run.run_check(check, target) for check in run.CHECKS]
    assert [check for check in checks if check.status != OK or check.remedy or not check.found] == []
    assert len({check.name for check in checks}) == len(checks)
