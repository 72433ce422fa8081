"""The fixture ``docker_plugin``.

Real: pytest in a process of its own, containerd, the tests' own volume plugin, its mounts.
"""

from __future__ import annotations

from tests.integration.testing.conftest import Inner
from tests.support.managed_plugins.bundles import make_bundle, python_command

pytest_plugins = ["pytester"]

USES = """
    import pytest
    from pluginexec import FailedPrecondition, ManagedPlugin
    from pluginexec.testing import DockerPluginFactory

    def test_it_is_enabled_and_answers(docker_plugin: DockerPluginFactory) -> None:
        plugin = docker_plugin("bundle", settings=["LABEL=mine"])
        assert isinstance(plugin, ManagedPlugin) and plugin.enabled
        assert plugin.implements == ["VolumeDriver"]
        plugin.call("VolumeDriver.Create", {"Name": "one"})
        assert "one" in str(plugin.call("VolumeDriver.List", {}))
        assert "/mnt/volumes" in str(plugin.call("VolumeDriver.Mount", {"Name": "one", "ID": "me"}))

    def test_one_that_exits_is_reported_at_once(docker_plugin):
        with pytest.raises(FailedPrecondition, match="the last line"):
            docker_plugin("broken", timeout=1000)

    def test_that_fails(docker_plugin):
        docker_plugin("bundle", restart="always")
        assert False
"""


def test_a_test_has_enabled_docker_plugins_and_leaves_nothing(inner: Inner) -> None:
    make_bundle(inner.path / "bundle", "volume")
    broken = python_command("import sys; print('the last line', file=sys.stderr); sys.exit(3)")
    make_bundle(inner.path / "broken", "volume", entrypoint=broken)
    result = inner.run(USES)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*- docker plugin d* -*", "<ManagedPlugin d*: enabled>", "stdout*"])
    inner.check_nothing_left()
