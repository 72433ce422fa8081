"""The guards of managed plugins: no wait for what is dead, nothing left of a failure, nothing of others touched."""

from __future__ import annotations

from tests.mutation.guard import Guard

PLUGIN = "tests/integration/managed/test_plugin.py"


MANAGED = (
    Guard(
        "a plugin that has ended is not waited for",
        "pluginexec.managed.client:wait_for_socket",
        "ended in ready",
        "False",
        "tests/unit/managed/test_client.py::test_the_end_of_the_plugin_ends_the_wait",
        r"not True",
    ),
    Guard(
        "no link of a tar leads out of its directory",
        "pluginexec.managed.archive.walk:Walker.enter",
        "_DIRECTORY",
        "os.O_DIRECTORY",
        "tests/integration/managed/test_bundle.py::test_nothing_of_a_tar_comes_elsewhere[a relative link]",
        r"\['x'\] == \['kept'\]",
    ),
    Guard(
        "what a plugin has mounted is unmounted before files are removed",
        "pluginexec.managed.directories:PluginDirectories.clear",
        "unmount_below(self.directory)",
        "True",
        "tests/integration/managed/test_directories.py::test_what_a_plugin_has_bound_into_its_socket_directory_is_not_removed",
        r"exists\(\)",
    ),
    Guard(
        "a plugin that runs already is not started again under its own feet",
        "pluginexec.managed.plugin:ManagedPlugin.enable",
        "self._container.take_over()",
        "False",
        f"{PLUGIN}::test_one_that_an_earlier_process_has_left_is_not_started_twice_and_can_be_disabled",
        "Regex pattern did not match",
    ),
    Guard(
        "a plugin that could not be enabled is ended",
        "pluginexec.managed.container:AttachedContainer.abort",
        "self._executor.stop(self._id, ABORT_TIMEOUT)",
        "pass",
        f"{PLUGIN}::test_a_plugin_that_implements_something_else_is_refused",
        "not in",
    ),
)
