"""The guards of managed plugins that are kept on a root, for the command line."""

from __future__ import annotations

from tests.mutation.guard import Guard

KEPT = (
    Guard(
        "what is mounted in a plugin is not deleted with it",
        "host/managed/store.py",
        "if not unmount_below(directory):",
        "if False:",
        "tests/unit/host/managed/test_store.py::test_what_is_mounted_in_a_plugin_is_not_deleted_with_it",
        "cannot be removed: Device or resource busy",
    ),
    Guard(
        "what was killed while it enabled a plugin has not enabled it",
        "host/managed/manager.py",
        "if self.store.implements(name) is not None and _is_up(state):",
        "if _is_up(state):",
        "tests/integration/host/managed/test_killed.py::"
        "test_what_was_killed_while_it_enabled_a_plugin_is_finished_by_the_next"
        "[after-pluginexec.executor.executor.Executor.create]",
        "plugin already enabled",
    ),
    Guard(
        "what a person has disabled stays so when serve starts",
        "host/managed/manager.py",
        'restart="unless-stopped" if managed.restart == "always" else managed.restart,',
        "restart=managed.restart,",
        "tests/integration/host/managed/test_manager.py::test_what_was_disabled_stays_so_when_serve_starts",
        "'running' == 'exited'",
    ),
)
