"""The guards of managed plugins that are kept on a root, for the command line."""

from __future__ import annotations

from tests.mutation.guard import Guard

KEPT = (
    Guard(
        "what is mounted in a plugin is not deleted with it",
        "pluginexec.host.managed.store:_discard",
        "unmount_below(directory)",
        "True",
        "tests/integration/host/managed/test_store.py::test_what_is_mounted_in_a_plugin_is_not_deleted_with_it",
        r"== \['\.lock'\]",
    ),
    Guard(
        "what was killed while it enabled a plugin has not enabled it",
        "pluginexec.host.managed.manager:ManagedHost.enable",
        "self.store.implements(name) is not None and _is_up(state)",
        "_is_up(state)",
        "tests/integration/host/managed/test_killed.py::"
        "test_what_was_killed_while_it_enabled_a_plugin_is_finished_by_the_next"
        "[after-pluginexec.executor.executor.Executor.create]",
        "plugin already enabled",
    ),
)
